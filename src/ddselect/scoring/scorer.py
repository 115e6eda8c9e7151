"""The score: differences of denoising losses between two conditions. Functions of tensors, nothing else."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.runtime.errors import NumericalError
from ddselect.scoring.draws import Draws


@dataclass(frozen=True)
class Maps:
    """Per-position results, averaged over draws.

    Attributes:
        difference: (N, h, w) float32 D(x | y): large where the label explains the image. Without a reference condition,
            the loss minus its mean over the image.
        loss: (N, h, w) float32 loss under the positive condition.
    """

    difference: Tensor
    loss: Tensor


class LossError(NumericalError):
    """A loss is not finite: that of the image at ``position`` in the batch."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@torch.inference_mode()
def difference_maps(
    denoiser: Denoiser, images: Tensor, hashes: list[str], positive: Tensor, reference: int | None, draws: Draws
) -> Maps:
    """Scores a batch of images (METHOD, section 1).

    Both conditions see the same timesteps and noise and go through the network in one batch.

    Args:
        denoiser: The diffusion prior.
        images: (N, 3, S, S) uint8.
        hashes: N content hashes, the keys of the noise.
        positive: (N,) int64 positive conditions.
        reference: The reference condition, or None to use the loss itself.
        draws: Timesteps and noises.

    Raises:
        LossError: A loss is not finite.
    """
    latents = denoiser.encode(images)
    device, count = latents.device, len(images)
    timesteps = draws.timesteps(hashes, len(denoiser.schedule)).to(device)
    classes = positive if reference is None else torch.cat([positive, torch.full_like(positive, reference)])
    copies = len(classes) // count
    total = torch.zeros(len(classes), *latents.shape[2:], device=device)
    for draw in range(draws.count):
        noise = draws.noise(hashes, draw, tuple(latents.shape[1:])).to(device)
        loss = denoiser.loss(
            latents.repeat(copies, 1, 1, 1),
            noise.repeat(copies, 1, 1, 1),
            timesteps[draw].repeat(copies),
            classes,
        )
        finite = loss.flatten(1).isfinite().all(1)
        if not finite.all():
            worst = int((~finite).nonzero()[0]) % count
            raise LossError(
                f"the loss at timestep {int(timesteps[draw, worst])} is not finite with backbone {denoiser.title} "
                f"({str(denoiser.dtype)[6:]}); try backbone.dtype=fp32",
                worst,
            )
        total += loss
    mean = total / draws.count
    own = mean[:count]
    if reference is None:
        return Maps(own - own.mean((1, 2), keepdim=True), own)
    return Maps(mean[count:] - own, own)


def window(side: int, sigma: float | None) -> Tensor:
    """(side, side) float32 weights that sum to 1: a centred Gaussian, or flat if ``sigma`` (in positions) is None."""
    if sigma is None:
        return torch.full((side, side), 1 / side**2)
    distance = torch.arange(side) - (side - 1) / 2
    line = torch.exp(-(distance**2) / (2 * sigma**2))
    plane = line[:, None] * line[None, :]
    return plane / plane.sum()


@dataclass(frozen=True)
class Boxes:
    """The best boxes of each image, best first.

    Attributes:
        corner: (N, K, 2) int64 x0, y0 in map positions.
        score: (N, K) float32 window-weighted mean of the positive part of the map: what boxes are ranked by; ``-inf``
            where an image has fewer than K non-overlapping boxes.
        difference: (N, K) float32 plain mean of the map in the box: S(box | y) of METHOD.
        loss: (N, K) float32 mean loss in the box under the positive condition.
    """

    corner: Tensor
    score: Tensor
    difference: Tensor
    loss: Tensor


def best_boxes(maps: Maps, side: int, count: int, sigma: float | None) -> Boxes:
    """Greedy search for the best non-overlapping boxes.

    The map is clamped at 0 for the search (negative positions must not push a box off its object), after averaging over
    draws, never before. An image without room for a further box has ``-inf`` as that box's score.

    Args:
        maps: Maps of N images.
        side: Side of a box in map positions.
        count: Boxes per image, K.
        sigma: Width of the Gaussian window in positions; None for a flat one.
    """
    weights = window(side, sigma).to(maps.difference.device)[None, None]
    score = F.conv2d(maps.difference.clamp(min=0)[:, None], weights)[:, 0]
    difference = F.avg_pool2d(maps.difference[:, None], side, 1)[:, 0]
    loss = F.avg_pool2d(maps.loss[:, None], side, 1)[:, 0]
    _, rows, columns = score.shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, x = y.to(score.device), x.to(score.device)
    free = score.clone()
    picks, scores = [], []
    for _ in range(count):
        best, pick = free.flatten(1).max(1)
        picks.append(pick)
        scores.append(best)
        overlaps = ((x - (pick % columns)[:, None, None]).abs() < side) & (
            (y - (pick // columns)[:, None, None]).abs() < side
        )
        free = free.masked_fill(overlaps, float("-inf"))
    index = torch.stack(picks, 1)

    def at(plane: Tensor) -> Tensor:
        return plane.flatten(1).gather(1, index)

    corner = torch.stack([index % columns, index // columns], -1)
    return Boxes(corner, torch.stack(scores, 1), at(difference), at(loss))


def image_scores(maps: Maps) -> Tensor:
    """(N,) float32 score of whole images: mean of the positive part of the map."""
    return maps.difference.clamp(min=0).mean((1, 2))
