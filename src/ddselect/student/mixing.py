"""Mixing the images of a batch, every random number from a generator that the caller keys."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """What mixing did to a batch."""

    images: Tensor  # (N, 3, S, S) mixed images
    partner: Tensor  # (N,) int64: whose pixels or classes were mixed in
    share: float  # share of the own image that is left, in [0, 1]


def cutmix(images: Tensor, alpha: float, generator: torch.Generator) -> Mix:
    """Pastes one random box from a permutation of the batch (Yun et al. 2019); the share is exact after clipping."""
    count, _, height, width = images.shape
    share = _beta(alpha, generator)
    y, x = (int(torch.randint(n, (1,), generator=generator)) for n in (height, width))
    box = cutmix_box(share, y, x, height, width)
    return paste(images, torch.randperm(count, generator=generator), box)


def mixup(images: Tensor, alpha: float, generator: torch.Generator) -> Mix:
    """Blends each image with one of a permutation of the batch (Zhang et al. 2018)."""
    share = _beta(alpha, generator)
    return blend(images, torch.randperm(len(images), generator=generator), share)


def cutmix_box(share: float, y: int, x: int, height: int, width: int) -> tuple[int, int, int, int]:
    """The box around a pixel that leaves a share of the image, clipped to it: x0, y0, x1, y1 in pixels."""
    cut = (1 - share) ** 0.5
    half_h, half_w = int(height * cut) // 2, int(width * cut) // 2
    return max(x - half_w, 0), max(y - half_h, 0), min(x + half_w, width), min(y + half_h, height)


def paste(images: Tensor, partner: Tensor, box: tuple[int, int, int, int]) -> Mix:
    """CutMix with given partners (N,) and box x0, y0, x1, y1 in pixels."""
    partner, (x0, y0, x1, y1) = partner.to(images.device), box
    mixed = images.clone()
    mixed[:, :, y0:y1, x0:x1] = images[partner][:, :, y0:y1, x0:x1]
    return Mix(mixed, partner, 1 - (y1 - y0) * (x1 - x0) / (images.shape[-2] * images.shape[-1]))


def blend(images: Tensor, partner: Tensor, share: float) -> Mix:
    """Mixup with given partners (N,) and share of the own image."""
    partner = partner.to(images.device)
    return Mix(share * images + (1 - share) * images[partner], partner, share)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha) by Johnk's method, which needs uniform numbers only."""
    while True:
        x, y = (torch.rand(2, generator=generator, dtype=torch.float64) ** (1 / alpha)).tolist()
        if 0 < x + y <= 1:
            return float(x / (x + y))
