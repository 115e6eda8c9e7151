"""Windows, flips and shuffles of whole batches on the device, all randomness from a generator that the caller keys."""

import torch
import torch.nn.functional as F
from torch import Tensor

_TRIES = 10  # for a window that fits, as in torchvision


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) float32 uniform in [low, high)."""
    return torch.rand(count, generator=generator) * (high - low) + low


def crop_resize(
    images: Tensor, area: list[float], ratio: list[float], shift: float, generator: torch.Generator
) -> Tensor:
    """Cuts a random window from each image and resizes it to the image's size (bilinear).

    Args:
        images: (N, 3, S, S) float.
        area: Smallest and largest area of the window as shares of the image; above 1 zooms out (mirrored border, no
            antialiasing).
        ratio: Smallest and largest aspect ratio (log-uniform).
        shift: How far the window's centre may leave the middle, as a share of half the image; 0: as far as the window
            stays inside the image. Without zooming out that is torchvision's RandomResizedCrop.
        generator: CPU generator.
    """
    if not shift and area[1] <= 1:
        return resize_windows(images, random_windows(len(images), images.shape[-1], area, ratio, generator))
    count = len(images)
    side = uniform(count, area[0], area[1], generator).sqrt()
    low, high = torch.log(torch.tensor(ratio)).tolist()
    stretch = torch.exp(uniform(count, low, high, generator) / 2)
    extent = torch.stack([side * stretch, side / stretch], 1)
    extent = extent if area[1] > 1 else extent.clamp(max=1)
    reach = torch.full_like(extent, shift) if shift else (1 - extent).clamp(min=0)
    centre = (torch.rand(count, 2, generator=generator) * 2 - 1) * reach
    if area == ratio == [1, 1]:  # whole pixels: nothing is blurred
        centre = (centre * images.shape[-1] / 2).round() * 2 / images.shape[-1]
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = extent[:, 0], extent[:, 1], centre
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_windows(count: int, side: int, area: list[float], ratio: list[float], generator: torch.Generator) -> Tensor:
    """Windows distributed as those of torchvision's RandomResizedCrop: the first of ten that fits, else the largest.

    Area (shares of the image) and ratio (width by height) are each the smallest and largest. Returned are (count, 4)
    int64 top, left, height, width in pixels of square images of a side.
    """
    root = uniform(count * _TRIES, area[0], area[1], generator).sqrt()
    low, high = torch.log(torch.tensor(ratio)).tolist()
    stretch = torch.exp(uniform(count * _TRIES, low, high, generator) / 2)
    sizes = (side * torch.stack([root / stretch, root * stretch], 1)).round().long().view(count, _TRIES, 2)
    fits = ((sizes > 0) & (sizes <= side)).all(2)
    widest = [min(side, round(side / ratio[0])), min(side, round(side * ratio[1]))]
    chosen = sizes[torch.arange(count), fits.int().argmax(1)]
    size = torch.where(fits.any(1, keepdim=True), chosen, torch.tensor(widest))
    corner = (torch.rand(count, 2, generator=generator) * (side - size + 1)).long()
    corner = torch.where(fits.any(1, keepdim=True), corner, (side - size) // 2)
    return torch.cat([corner, size], 1)


def resize_windows(images: Tensor, windows: Tensor) -> Tensor:
    """Resizes a window of each image to the image's size (bilinear), as torchvision's ``resized_crop`` does.

    A window inside an image is never larger than the result, so that antialiasing would change nothing. Images are (N,
    3, S, S) float, windows (N, 4) int64 top, left, height, width in pixels.
    """
    side = images.shape[-1]
    start, length = windows[:, :2, None], windows[:, 2:, None]
    place = start + (torch.arange(side) + 0.5) / side * length  # (N, 2, S)
    place = place.clamp(start + 0.5, start + length - 0.5)  # no pixel from outside the window
    y, x = (2 * place / side - 1).to(images.device).unbind(1)
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], 3)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability one half."""
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def shuffle_patches(images: Tensor, factor: int, generator: torch.Generator) -> Tensor:
    """Permutes the factor x factor patches of each image, as RDED does in training."""
    if factor == 1:
        return images
    count, channels, size, _ = images.shape
    patch = size // factor
    cells = images[..., : patch * factor, : patch * factor].reshape(count, channels, factor, patch, factor, patch)
    cells = cells.permute(0, 2, 4, 1, 3, 5).reshape(count, factor**2, channels, patch, patch)
    order = torch.rand(count, factor**2, generator=generator).argsort(1).to(images.device)
    cells = cells[torch.arange(count, device=images.device)[:, None], order]
    cells = cells.reshape(count, factor, factor, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(count, channels, patch * factor, patch * factor)


def one_patch(images: Tensor, stitched: Tensor, factor: int, generator: torch.Generator) -> Tensor:
    """Shows one of the factor x factor patches of each stitched image at the image's size.

    Images are (N, 3, S, S) float, ``stitched`` is (N,) bool; other images stay as they are.
    """
    if factor == 1:
        return images
    side = images.shape[-1] // factor
    corners = side * torch.randint(factor, (len(images), 2), generator=generator)
    shown = resize_windows(images, torch.cat([corners, torch.full_like(corners, side)], 1))
    return torch.where(stitched.to(images.device)[:, None, None, None], shown, images)
