"""Windows, flips and shuffles of batches: torchvision's windows, and nothing random but the given generator."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from ddselect.student.augment import crop_resize, flip, random_windows, resize_windows, shuffle_patches
from ddselect.student.colour import jitter, lighting
from ddselect.student.mixing import cutmix, mixup

KEEP = [1.0, 1.0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(count: int, side: int = 16) -> Tensor:
    """First channel: x of the pixel's centre in [0, 1]; second: y; third: 0."""
    centre = (torch.arange(side) + 0.5) / side
    x, y = centre.expand(side, side), centre[:, None].expand(side, side)
    return torch.stack([x, y, torch.zeros(side, side)]).expand(count, 3, side, side).clone()


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


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("side", [24, 31])
def test_a_window_is_resized_as_torchvision_does(side: int, antialias: bool) -> None:
    """Never to fewer pixels, so that antialiasing is nothing; at the window's edge nothing comes from outside it."""
    images = torch.rand(40, 3, side, side, generator=generator())
    windows = random_windows(40, side, [0.02, 1.0], [0.5, 2.0], generator(1))
    windows[0], windows[1] = torch.tensor([side - 1, 0, 1, side]), torch.tensor([0, 0, side, side])
    out = resize_windows(images, windows)
    for image, window, found in zip(images, windows.tolist(), out, strict=True):
        expected = functional.resized_crop(image, *window, [side, side], antialias=antialias)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("area", "ratio"), [([0.08, 1.0], [3 / 4, 4 / 3]), ([0.5, 1.0], [3 / 4, 4 / 3]), ([0.9, 1.0], [0.5, 2.0])]
)
def test_windows_are_distributed_as_torchvisions(area: list[float], ratio: list[float]) -> None:
    """Mean, spread and quartiles of top, left, height, width and area, where many drawn windows do not fit too."""
    side, count = 32, 4000
    image = torch.zeros(3, side, side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor([RandomResizedCrop.get_params(image, area, ratio) for _ in range(count)]).float()
    ours = random_windows(count, side, area, ratio, generator()).float()
    for a, b in (
        (ours, theirs),
        (ours[:, 2:].prod(1, keepdim=True) / side, theirs[:, 2:].prod(1, keepdim=True) / side),
    ):
        error = 5 * b.std(0) * (2 / count) ** 0.5 + 1e-6
        assert ((a.mean(0) - b.mean(0)).abs() <= error).all()
        torch.testing.assert_close(a.std(0), b.std(0), rtol=0.08, atol=0.05)
        quartiles = torch.tensor([0.25, 0.5, 0.75])
        torch.testing.assert_close(a.quantile(quartiles, 0), b.quantile(quartiles, 0), rtol=0.02, atol=1.0)
    assert (ours[:, 0] + ours[:, 2]).max() <= side
    assert (ours[:, 1] + ours[:, 3]).max() <= side


def test_where_no_window_fits_it_is_the_largest_in_the_middle() -> None:
    """Every window of all the image's area and twice as wide as high would leave it: half of the height is left."""
    expected = torch.tensor([[8, 0, 16, 32]]).expand(5, 4)
    assert torch.equal(random_windows(5, 32, [1.0, 1.0], [2.0, 2.0], generator()), expected)
    assert torch.equal(random_windows(5, 32, [1.0, 1.0], [0.5, 0.5], generator()), expected[:, [1, 0, 3, 2]])


def test_aspect_ratio_is_log_uniform() -> None:
    left, right, top, bottom = windows(crop_resize(ramp(500, 64), [0.2, 0.2], [0.5, 2.0], 0.0, generator()))
    ratio = torch.log2((right - left) / (bottom - top))
    assert ratio.min().item() == pytest.approx(-1, abs=0.05)
    assert ratio.max().item() == pytest.approx(1, abs=0.05)
    assert ratio.mean().item() == pytest.approx(0, abs=0.08)
    torch.testing.assert_close((right - left) * (bottom - top), torch.full((500,), 0.2), atol=0.01, rtol=0)


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
        lambda x, g: crop_resize(x, [0.6, 1.5], [1.0, 1.0], 0.2, g),
        flip,
        lambda x, g: jitter(x, 0.4, g),
        lambda x, g: lighting(x, 0.1, g),
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
