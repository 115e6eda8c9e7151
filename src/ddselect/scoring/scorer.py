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
        change: (N, h, w) float32 squared difference of the two conditions' predictions, averaged over channels: large
            where the label changes what is predicted. It is the difference with the noise replaced by its prediction
            under the label, and so varies far less from draw to draw; but it does not say whether the change was for
            the better, so that it tells places apart and not images. Without a reference condition, the difference.
        loss: (N, h, w) float32 loss under the positive condition.
    """

    difference: Tensor
    change: Tensor
    loss: Tensor

    def place(self, share: float) -> Tensor:
        """(N, h, w) what boxes are placed by: the difference, and the change at a share from 0 to 1."""
        return torch.lerp(self.difference, self.change, share)


class LossError(NumericalError):
    """A loss is not finite: that of the image at ``position`` in the batch."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@torch.inference_mode()
def difference_maps(
    denoiser: Denoiser, latents: Tensor, hashes: list[str], positive: Tensor, reference: int | None, draws: Draws
) -> Maps:
    """Scores the latents of a batch of images (METHOD, section 1).

    Both conditions see the same timesteps and noise and go through the network in one batch.

    Args:
        denoiser: The diffusion prior.
        latents: (N, C, h, w) float32 z0, as :meth:`Denoiser.encode` makes them.
        hashes: N content hashes, the keys of the noise.
        positive: (N,) int64 positive conditions.
        reference: The reference condition, or None to use the loss itself.
        draws: Timesteps and noises.

    Raises:
        LossError: A loss is not finite.
    """
    device, count = latents.device, len(latents)
    timesteps = draws.timesteps(hashes, len(denoiser.schedule))
    weights = draws.weights_at(timesteps, len(denoiser.schedule)).to(device)[:, :, None, None]
    timesteps = timesteps.to(device)
    classes = positive if reference is None else torch.cat([positive, torch.full_like(positive, reference)])
    copies = len(classes) // count
    losses = torch.zeros(len(classes), *latents.shape[2:], device=device)
    change = torch.zeros(count, *latents.shape[2:], device=device)
    for draw in range(draws.count):
        noise = draws.noise(hashes, draw, tuple(latents.shape[1:])).to(device)
        error = denoiser.error(
            latents.repeat(copies, 1, 1, 1),
            noise.repeat(copies, 1, 1, 1),
            timesteps[draw].repeat(copies),
            classes,
        )
        loss = error.pow(2).mean(1)
        finite = loss.flatten(1).isfinite().all(1)
        if not finite.all():
            worst = int((~finite).nonzero()[0]) % count
            raise LossError(
                f"the loss at timestep {int(timesteps[draw, worst])} is not finite with backbone {denoiser.title} "
                f"({str(denoiser.dtype)[6:]}); try backbone.dtype=fp32",
                worst,
            )
        losses += weights[draw].repeat(copies, 1, 1) * loss
        if reference is not None:
            change += weights[draw] * (error[count:] - error[:count]).pow(2).mean(1)
    own = losses[:count]
    if reference is None:
        difference = own - own.mean((1, 2), keepdim=True)
        return Maps(difference, difference, own)
    return Maps(losses[count:] - own, change, own)


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
    """The best boxes of each image, best place first.

    Attributes:
        corner: (N, K, 2) int64 x0, y0 in map positions.
        exists: (N, K) bool: False where an image has fewer than K non-overlapping boxes.
        score: (N, K) float32 mean difference in the box: S(box | y) of METHOD.
        loss: (N, K) float32 mean loss in the box under the positive condition.
    """

    corner: Tensor
    exists: Tensor
    score: Tensor
    loss: Tensor


def best_boxes(maps: Maps, place: Tensor, side: int, count: int, sigma: float | None) -> Boxes:
    """Greedy search for the best non-overlapping boxes.

    A box goes where the window-weighted mean of the positive part of ``place`` is largest: negative positions must not
    push it off its object. It is clamped after averaging over draws, never before. The box's score has neither window
    nor clamp, so that few draws make it noisy but do not shift it.

    Args:
        maps: Maps of N images.
        place: (N, h, w) what the boxes are placed by, see :meth:`Maps.place`.
        side: Side of a box in map positions.
        count: Boxes per image, K.
        sigma: Width of the Gaussian window in positions; None for a flat one.
    """
    weights = window(side, sigma).to(place.device)[None, None]
    free = F.conv2d(place.clamp(min=0)[:, None], weights)[:, 0]
    score = F.avg_pool2d(maps.difference[:, None], side, 1)[:, 0]
    loss = F.avg_pool2d(maps.loss[:, None], side, 1)[:, 0]
    _, rows, columns = free.shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, x = y.to(free.device), x.to(free.device)
    picks, exists = [], []
    for _ in range(count):
        best, pick = free.flatten(1).max(1)
        picks.append(pick)
        exists.append(best.isfinite())
        overlaps = ((x - (pick % columns)[:, None, None]).abs() < side) & (
            (y - (pick // columns)[:, None, None]).abs() < side
        )
        free = free.masked_fill(overlaps, float("-inf"))
    index = torch.stack(picks, 1)

    def at(plane: Tensor) -> Tensor:
        return plane.flatten(1).gather(1, index)

    corner = torch.stack([index % columns, index // columns], -1)
    return Boxes(corner, torch.stack(exists, 1), at(score), at(loss))


def image_scores(maps: Maps) -> Tensor:
    """(N,) float32 scores of whole images: S of the box that is all of the image."""
    return maps.difference.mean((1, 2))
