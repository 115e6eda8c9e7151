"""Colour augmentation of whole batches on the device, every random number from a generator that the caller keys."""

import torch
from torch import Tensor

from ddselect.student.augment import uniform

_GREY = (0.2989, 0.587, 0.114)
_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))  # row: R, G, B


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Changes brightness, contrast and saturation of each image, in a random order: torchvision's ColorJitter.

    Images are (N, 3, S, S) float in [0, 1]; each factor is uniform in [max(0, 1 - strength), 1 + strength).
    """
    count = len(images)
    factors = uniform(count * 3, max(0.0, 1 - strength), 1 + strength, generator).view(count, 3)
    order = torch.rand(count, 3, generator=generator).argsort(1)
    return adjust(images, factors, order)


def adjust(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness (0), contrast (1) and saturation (2) of each image, each a blend, clamped to [0, 1].

    Images are (N, 3, S, S) float in [0, 1]. Of factors (N, 3) 1 changes nothing, 0 leaves black, mean grey, or greys;
    ``order`` (N, 3) int64 says which comes first, second and third.
    """
    weights = torch.tensor(_GREY, device=images.device).view(1, 3, 1, 1)
    for kind in order.unbind(1):
        factor = factors.gather(1, kind[:, None]).to(images.device).view(-1, 1, 1, 1)
        which = kind.to(images.device).view(-1, 1, 1, 1)
        grey = (images * weights).sum(1, keepdim=True)
        other = torch.where(which == 2, grey, torch.where(which == 1, grey.mean((2, 3), keepdim=True), 0.0))
        images = (factor * images + (1 - factor) * other).clamp(0, 1)
    return images


def lighting(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Adds a random colour to each image along the principal components of ImageNet's pixels (Krizhevsky et al. 2012).

    Section 4.1 there; the components are those of RGB values in [0, 1] that fb.resnet.torch published. The result is
    not clamped, as there. Images are (N, 3, S, S) float in [0, 1]; ``strength`` is the standard deviation of each
    component's normal draw.
    """
    draws = strength * torch.randn(len(images), 3, generator=generator)
    return images + shade(draws).to(images.device)[:, :, None, None]


def shade(draws: Tensor) -> Tensor:
    """The colours (N, 3) that draws (N, 3) of the three components add to RGB."""
    return (draws * torch.tensor(_EIGENVALUES)) @ torch.tensor(_EIGENVECTORS).T
