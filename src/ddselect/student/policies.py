"""Augmentation by published policies, every random number from a key that the caller gives."""

from math import pi

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ddselect.student.augment import flip, uniform
from ddselect.student.colour import adjust

_PADDED, _CUT, _SCALE, _DEGREES = 0.125, 0.5, 1.2, 15.0


def randaugment(images: Tensor, key: int) -> Tensor:
    """RandAugment (Cubuk et al. 2020) as torchvision has it by default: two operations of magnitude 9 of 30.

    Images are (N, 3, S, S) uint8, and so is what is returned, on the processor. The global random state, from which
    torchvision draws, is as before afterwards.
    """
    from torchvision.transforms import RandAugment  # seconds to import

    policy, pictures = RandAugment(), images.permute(0, 2, 3, 1).cpu().numpy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        changed = [np.asarray(policy(Image.fromarray(picture))) for picture in pictures]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).contiguous()


def dsa(images: Tensor, generator: torch.Generator) -> Tensor:
    """The operations of differentiable augmentation (Zhao and Bilen, ICML 2021), all of them, for each image its own.

    Colour (brightness, saturation, contrast: factors up to .5, 1, .5 from 1), a shift by up to an eighth of the side,
    a square of half the side cut out, a mirror, a scale up to 1.2, a rotation up to 15 degrees, in this order.
    What lies outside of an image, and what is cut out, is grey. Images are (N, 3, S, S) float in [0, 1].
    """
    count, side = len(images), images.shape[-1]
    strengths = torch.tensor([0.5, 0.5, 1.0])  # of brightness, contrast, saturation
    factors = 1 + (torch.rand(count, 3, generator=generator) * 2 - 1) * strengths
    images = adjust(images, factors, torch.tensor([[0, 2, 1]]).expand(count, 3)) - 0.5
    reach = int(side * _PADDED + 0.5)
    shift = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    images = _seen_from(images, torch.eye(2).expand(count, 2, 2), 2 * shift / side)
    cut = int(side * _CUT + 0.5)
    centre = torch.randint(side + 1 - cut % 2, (count, 2, 1), generator=generator)
    inside = ((torch.arange(side) - centre + cut // 2) // cut == 0).to(images.device)  # (N, 2, S)
    images = images.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0)
    images = flip(images, generator)
    scale = 1 / uniform(2 * count, 1 / _SCALE, _SCALE, generator).view(count, 2)
    images = _seen_from(images, torch.diag_embed(scale), torch.zeros(count, 2))
    angle = uniform(count, -_DEGREES, _DEGREES, generator) * pi / 180
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(count, 2, 2)
    return _seen_from(images, turn, torch.zeros(count, 2)) + 0.5


def _seen_from(images: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """Images (N, 3, S, S) at places (N, 2, 2) times their own, moved by (N, 2) in halves of a side; 0 outside."""
    theta = torch.cat([turn, shift[:, :, None]], 2).to(images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
