"""RandAugment, differentiable augmentation and single patches: by operation, replayable, and each image for itself."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandAugment
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from ddselect.runtime.seeds import torch_generator
from ddselect.student.augment import one_patch
from ddselect.student.policies import dsa, randaugment


def pictures(count: int = 6, side: int = 16) -> Tensor:
    return torch.randint(256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_randaugment_is_torchvisions() -> None:
    images = pictures()
    torch.manual_seed(5)
    policy = RandAugment()
    direct = torch.stack([pil_to_tensor(policy(to_pil_image(image))) for image in images])
    torch.manual_seed(7)
    found = randaugment(images, 5)
    assert found.equal(direct)
    assert not found.equal(images)
    assert torch.initial_seed() == 7
    assert not randaugment(images, 6).equal(found)


def test_one_patch_of_each_stitched_image_fills_it() -> None:
    images = torch.arange(4.0).view(2, 2).repeat_interleave(4, 0).repeat_interleave(4, 1).expand(40, 3, 8, 8)
    stitched = torch.arange(40) < 30
    shown = one_patch(images, stitched, 2, torch_generator(0, "p"))
    assert all(image.unique().numel() == 1 for image in shown[:30])
    assert {float(image[0, 0, 0]) for image in shown[:30]} == {0, 1, 2, 3}
    assert shown[30:].equal(images[30:])
    assert one_patch(images, stitched, 1, torch_generator(0, "p")).equal(images)


def test_dsa_is_replayed_from_its_generator() -> None:
    images = pictures().float() / 255
    found = dsa(images, torch_generator(0, "d"))
    assert found.shape == images.shape
    assert found.equal(dsa(images, torch_generator(0, "d")))
    assert not found.equal(dsa(images, torch_generator(1, "d")))


def test_what_dsa_cuts_out_is_a_quarter_at_most_and_grey() -> None:
    """A white image keeps its white but for the cut and what comes in from outside."""
    found = dsa(torch.ones(64, 3, 32, 32), torch_generator(0, "d"))
    grey = ((found - 0.5).abs() < 1e-6).all(1).float().mean((1, 2))
    assert grey.max() < 0.75
    assert grey.mean() > 0.1
    assert found.isfinite().all()


@pytest.mark.parametrize("sign", [0, 1])
def test_the_colours_of_dsa_stay_in_reach(sign: int) -> None:
    flat = torch.full((32, 3, 8, 8), 0.4 + 0.2 * sign)
    found = dsa(flat, torch_generator(3, "d"))
    assert found.min() >= 0
    assert found.max() <= 1
