"""Augmentation of whole batches on the device, every random number from a generator that the caller keys."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """What mixing did to a batch.

    Attributes:
        images: (N, 3, S, S) mixed images.
        partner: (N,) int64: whose pixels or classes were mixed in.
        share: Share of the own image that is left, in [0, 1].
    """

    images: Tensor
    partner: Tensor
    share: float


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) float32 uniform in [low, high)."""
    return torch.rand(count, generator=generator) * (high - low) + low


def crop_resize(
    images: Tensor, area: list[float], ratio: list[float], shift: float, generator: torch.Generator
) -> Tensor:
    """Cuts a random window from each image and resizes it to the image's size (bilinear).

    Args:
        images: (N, 3, S, S) float.
        area: Smallest and largest area of the window as shares of the image; above 1 zooms out (mirrored border).
        ratio: Smallest and largest aspect ratio (log-uniform).
        shift: How far the window's centre may leave the middle, as a share of half the image; 0: as far as the window
            stays inside the image, which makes it a RandomResizedCrop (its rare fallback aside).
        generator: CPU generator.
    """
    count = len(images)
    side = uniform(count, area[0], area[1], generator).sqrt()
    low, high = torch.log(torch.tensor(ratio)).tolist()
    stretch = torch.exp(uniform(count, low, high, generator) / 2)
    extent = torch.stack([side * stretch, side / stretch], 1)
    extent = extent if area[1] > 1 else extent.clamp(max=1)
    reach = torch.full_like(extent, shift) if shift else (1 - extent).clamp(min=0)
    centre = (torch.rand(count, 2, generator=generator) * 2 - 1) * reach
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = extent[:, 0], extent[:, 1], centre
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


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


def cutmix(images: Tensor, alpha: float, generator: torch.Generator) -> Mix:
    """Pastes one random box from a permutation of the batch (Yun et al. 2019); the share is exact after clipping."""
    count, _, height, width = images.shape
    cut = (1 - _beta(alpha, generator)) ** 0.5
    half_h, half_w = int(height * cut) // 2, int(width * cut) // 2
    y, x = (int(torch.randint(n, (1,), generator=generator)) for n in (height, width))
    y0, y1, x0, x1 = max(y - half_h, 0), min(y + half_h, height), max(x - half_w, 0), min(x + half_w, width)
    partner = torch.randperm(count, generator=generator).to(images.device)
    mixed = images.clone()
    mixed[:, :, y0:y1, x0:x1] = images[partner][:, :, y0:y1, x0:x1]
    return Mix(mixed, partner, 1 - (y1 - y0) * (x1 - x0) / (height * width))


def mixup(images: Tensor, alpha: float, generator: torch.Generator) -> Mix:
    """Blends each image with one of a permutation of the batch (Zhang et al. 2018)."""
    share = _beta(alpha, generator)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    return Mix(share * images + (1 - share) * images[partner], partner, share)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha) by Johnk's method, which needs uniform numbers only."""
    while True:
        x, y = (torch.rand(2, generator=generator, dtype=torch.float64) ** (1 / alpha)).tolist()
        if 0 < x + y <= 1:
            return float(x / (x + y))
