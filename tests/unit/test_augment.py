"""Augmentation of batches: exact shares, right partners, and nothing random but the given generator."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddselect.student.augment import crop_resize, cutmix, flip, mixup, shuffle_patches

KEEP = [1.0, 1.0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant_images(count: int, height: int = 12, width: int = 12) -> Tensor:
    """Image i has the value i everywhere."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(count, 3, height, width).clone()


def ramp(count: int, side: int = 16) -> Tensor:
    """First channel: x of the pixel's centre in [0, 1]; second: y; third: 0."""
    centre = (torch.arange(side) + 0.5) / side
    x, y = centre.expand(side, side), centre[:, None].expand(side, side)
    return torch.stack([x, y, torch.zeros(side, side)]).expand(count, 3, side, side).clone()


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


@pytest.mark.parametrize("side", [16, 15])
def test_whole_window_is_the_identity(side: int) -> None:
    images = torch.rand(3, 3, side, side, generator=generator())
    torch.testing.assert_close(crop_resize(images, KEEP, KEEP, 0.0, generator()), images, atol=1e-5, rtol=0)


def windows(out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, right, top and bottom of each image's window, in shares of the image, from an augmented ramp."""
    side = out.shape[-1]
    x, y = out[:, 0, side // 2], out[:, 1, :, side // 2]
    found = []
    for line in (x, y):
        step = line[:, side // 2] - line[:, side // 2 - 1]
        found += [line[:, side // 2] - step * (side // 2 + 0.5), line[:, side // 2] + step * (side // 2 - 0.5)]
    return found[0], found[1], found[2], found[3]


def test_random_resized_crop_stays_inside_and_has_the_area() -> None:
    out = crop_resize(ramp(500), [0.25, 1.0], KEEP, 0.0, generator())
    left, right, top, bottom = windows(out)
    for edge in (left, right, top, bottom):
        assert edge.min() > -1e-3
        assert edge.max() < 1 + 1e-3
    assert (out[:, 0].diff(dim=-1) > -1e-5).all()  # no mirrored border
    area = (right - left) * (bottom - top)
    assert area.min().item() == pytest.approx(0.25, abs=0.02)
    assert area.max().item() == pytest.approx(1, abs=0.02)
    assert area.mean().item() == pytest.approx(0.625, abs=0.03)
    torch.testing.assert_close(right - left, bottom - top, atol=1e-3, rtol=0)
    assert left.min().item() == pytest.approx(0, abs=0.02)
    assert right.max().item() == pytest.approx(1, abs=0.02)


def test_aspect_ratio_is_log_uniform() -> None:
    left, right, top, bottom = windows(crop_resize(ramp(500), [0.2, 0.2], [0.5, 2.0], 0.0, generator()))
    ratio = torch.log2((right - left) / (bottom - top))
    assert ratio.min().item() == pytest.approx(-1, abs=0.05)
    assert ratio.max().item() == pytest.approx(1, abs=0.05)
    assert ratio.mean().item() == pytest.approx(0, abs=0.08)
    torch.testing.assert_close((right - left) * (bottom - top), torch.full((500,), 0.2), atol=5e-3, rtol=0)


def test_zooming_out_and_shifting_mirror_the_border() -> None:
    out = crop_resize(ramp(200), [2.25, 2.25], KEEP, 0.25, generator())
    left, right, _, _ = windows(out)
    torch.testing.assert_close(right - left, torch.full((200,), 1.5), atol=1e-3, rtol=0)
    centre = (left + right) / 2 - 0.5
    assert centre.abs().max().item() == pytest.approx(0.125, abs=0.01)  # a quarter of half the image
    assert out[:, :2].min() >= 0.5 / 16 - 1e-5
    assert out[:, :2].max() <= 1 - 0.5 / 16 + 1e-5


def test_flip_mirrors_about_half() -> None:
    images = ramp(400)
    out = flip(images, generator())
    mirrored = (out[:, 0, 0, 0] > 0.5).tolist()
    assert 150 < sum(mirrored) < 250
    for i, is_mirrored in enumerate(mirrored):
        assert torch.equal(out[i], images[i].flip(-1) if is_mirrored else images[i])


@pytest.mark.parametrize("factor", [2, 3])
def test_shuffle_permutes_patches_of_each_image(factor: int) -> None:
    side = 4 * factor
    images = torch.rand(30, 3, side, side, generator=generator())
    out = shuffle_patches(images, factor, generator())

    def patches(image: Tensor) -> list[bytes]:
        cells = [image[:, y : y + 4, x : x + 4] for y in range(0, side, 4) for x in range(0, side, 4)]
        return [cell.contiguous().numpy().tobytes() for cell in cells]

    orders = set()
    for before, after in zip(images, out, strict=True):
        old, new = patches(before), patches(after)
        assert sorted(old) == sorted(new)
        orders.add(tuple(old.index(p) for p in new))
    assert len(orders) > 10


def test_shuffle_of_one_patch_is_nothing() -> None:
    images = torch.rand(2, 3, 6, 6)
    assert torch.equal(shuffle_patches(images, 1, generator()), images)


@pytest.mark.parametrize(
    "augment",
    [
        lambda x, g: crop_resize(x, [0.3, 1.0], [0.8, 1.2], 0.0, g),
        flip,
        lambda x, g: shuffle_patches(x, 2, g),
        lambda x, g: cutmix(x, 1.0, g).images,
        lambda x, g: mixup(x, 0.8, g).images,
    ],
)
def test_the_generator_is_all_that_is_random(augment: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    images = torch.rand(8, 3, 12, 12, generator=generator())
    torch.manual_seed(0)
    first = augment(images, generator(5))
    torch.manual_seed(1)
    assert torch.equal(first, augment(images, generator(5)))
    assert not torch.equal(first, augment(images, generator(6)))
