"""Mixing batches: exact shares, right partners, and torchvision's pixels for the same box and share."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Beta
from torchvision.transforms import v2

from ddselect.student.mixing import blend, cutmix, cutmix_box, mixup, paste


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant_images(count: int, height: int = 12, width: int = 12) -> Tensor:
    """Image i has the value i everywhere."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(count, 3, height, width).clone()


@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_cutmix_share_is_the_share_of_own_pixels(size: tuple[int, int]) -> None:
    shares = []
    for seed in range(60):
        mix = cutmix(constant_images(5, *size), 1.0, generator(seed))
        assert sorted(mix.partner.tolist()) == list(range(5))
        shares.append(mix.share)
        for i, partner in enumerate(mix.partner.tolist()):
            own, other = (mix.images[i] == i).float().mean(), (mix.images[i] == partner).float().mean()
            assert own.item() == pytest.approx(1.0 if partner == i else mix.share)
            assert other.item() == pytest.approx(1.0 if partner == i else 1 - mix.share)
    assert min(shares) < 0.5
    assert max(shares) > 0.9


def test_cutmix_pastes_one_box_in_place() -> None:
    images = torch.rand(4, 3, 12, 12, generator=generator())
    mix = cutmix(images, 1.0, generator(3))
    changed = (mix.images != images).any(1)
    boxes = set()
    for i, partner in enumerate(mix.partner.tolist()):
        if partner == i:
            continue
        rows, columns = changed[i].any(1).nonzero().flatten(), changed[i].any(0).nonzero().flatten()
        y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        assert changed[i, y, x].all()
        assert torch.equal(mix.images[i, :, y, x], images[partner, :, y, x])
        boxes.add((y.start.item(), y.stop.item(), x.start.item(), x.stop.item()))
    assert len(boxes) == 1
    assert torch.equal(images, torch.rand(4, 3, 12, 12, generator=generator()))  # the input is left alone


def test_mixup_blends_with_the_partner() -> None:
    images, shares = torch.rand(6, 3, 4, 4, generator=generator()), []
    for seed in range(200):
        mix = mixup(images, 0.8, generator(seed))
        assert sorted(mix.partner.tolist()) == list(range(6))
        torch.testing.assert_close(mix.images, mix.share * images + (1 - mix.share) * images[mix.partner])
        shares.append(mix.share)
    values = torch.tensor(shares)
    assert values.mean().item() == pytest.approx(0.5, abs=0.06)
    assert values.var().item() == pytest.approx(1 / (4 * 2.6), abs=0.02)  # Beta(a, a): 1 / (4 (2 a + 1))


@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_cutmix_is_torchvisions_for_the_same_share_and_place(size: tuple[int, int]) -> None:
    """Its partner of an image is the one before, and it draws share and place from global state."""
    images, partner = torch.rand(5, 3, *size, generator=generator()), torch.arange(5).roll(1)
    for seed in range(20):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected, labels = v2.CutMix(alpha=1.0, num_classes=5)(images, torch.arange(5))
            torch.manual_seed(seed)
            share = float(Beta(1.0, 1.0).sample())
            x, y = int(torch.randint(size[1], (1,))), int(torch.randint(size[0], (1,)))
        mix = paste(images, partner, cutmix_box(share, y, x, *size))
        assert torch.equal(mix.images, expected)
        assert mix.share == pytest.approx(float(labels[0, 0]), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.8, 3.0])
def test_mixup_is_torchvisions_for_the_same_share(alpha: float) -> None:
    images = torch.rand(5, 3, 6, 6, generator=generator())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected, labels = v2.MixUp(alpha=alpha, num_classes=5)(images, torch.arange(5))
    mix = blend(images, torch.arange(5).roll(1), float(labels[0, 0]))
    torch.testing.assert_close(mix.images, expected)
