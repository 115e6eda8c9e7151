"""The score: differences of denoising losses between two conditions. Functions of tensors, nothing else."""

from collections.abc import Sequence
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
        difference: (N, h, w) float32 D(x | y): large where the label explains the image; cross terms of the draws mixed
            in as asked for. Without a reference condition, the loss minus its mean over the image.
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


class _CrossTerms:
    """What the errors of different draws have to do with each other, gathered draw by draw.

    The difference of two losses is a product, |e0|^2 - |e1|^2 = (e0 - e1)(e0 + e1), here of one and the same draw. The
    products of the first factor of one draw with the second of another tell as well how much better the label predicts,
    now of the mean predictions, and there are many more of them: count * (count - 1). Over few draws they vary less.
    """

    def __init__(self, like: Tensor) -> None:
        self._gaps, self._sums = torch.zeros_like(like), torch.zeros_like(like)
        self._same = torch.zeros_like(like[:, 0])
        self._squared_weights = torch.zeros_like(like[:, 0, :1, :1])

    def add(self, error: Tensor, other: Tensor, weight: Tensor) -> None:
        """A draw's errors (N, C, h, w) under the positive and the reference condition, and its weights (N, 1, 1)."""
        gap, total = other - error, other + error
        self._gaps += weight[:, None] * gap
        self._sums += weight[:, None] * total
        self._same += weight**2 * (gap * total).mean(1)
        self._squared_weights += weight**2

    def mean(self) -> Tensor:
        """(N, h, w) their weighted mean over all ordered pairs of different draws."""
        return ((self._gaps * self._sums).mean(1) - self._same) / (1 - self._squared_weights)


class LossError(NumericalError):
    """A loss is not finite: that of the image at ``position`` in the batch."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@torch.inference_mode()
def difference_maps(
    denoiser: Denoiser,
    latents: Tensor,
    hashes: list[str],
    positive: Tensor,
    reference: int | None,
    draws: Draws,
    cross: float = 0.0,
) -> Maps:
    """Scores the latents of a batch of images (METHOD, section 1).

    Both conditions see the same timesteps and noise and go through the network in one batch.

    Args:
        denoiser: The diffusion prior.
        latents: (N, C, h, w) float32 z0, as :meth:`Denoiser.encode` makes them.
        hashes: N content hashes, the keys of the noise.
        positive: (N,) int64 positive conditions.
        reference: The reference condition, or None to use the loss itself.
        draws: Timesteps and noises; two or more for cross terms.
        cross: Share of the cross terms in the difference, from 0 to 1; without a reference condition there are none.

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
    terms = _CrossTerms(latents.float()) if cross and reference is not None else None
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
        if terms is not None:
            terms.add(error[:count], error[count:], weights[draw])
    own = losses[:count]
    if reference is None:
        difference = own - own.mean((1, 2), keepdim=True)
        return Maps(difference, difference, own)
    difference = losses[count:] - own
    return Maps(difference if terms is None else torch.lerp(difference, terms.mean(), cross), change, own)


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
        side: (N, K) int64 in map positions.
        exists: (N, K) bool: False where an image has no room for K boxes.
    """

    corner: Tensor
    side: Tensor
    exists: Tensor

    def mean(self, plane: Tensor) -> Tensor:
        """(N, K) float32 means of a plane (N, h, w) in the boxes; of the difference this is S(box | y) of METHOD."""
        means = torch.zeros_like(self.side, dtype=plane.dtype)
        for side in torch.unique(self.side).tolist():
            pooled = F.avg_pool2d(plane[:, None], side, 1)[:, 0]
            x, y = self.corner.clamp(max=pooled.shape[-1] - 1).unbind(-1)  # those of other sides are not taken
            found = pooled.flatten(1).gather(1, y * pooled.shape[-1] + x)
            means = torch.where(self.side == side, found, means)
        return means


def best_boxes(place: Tensor, windows: Sequence[Tensor], count: int, overlap: float = 0.0) -> Boxes:
    """Greedy search for the best boxes, of one size or several.

    A box goes where the window-weighted sum of the positive part of ``place`` is largest: negative positions must not
    push it off its object. It is clamped after averaging over draws, never before. A box's score has neither window nor
    clamp, so that few draws make it noisy but do not shift it.

    Args:
        place: (N, h, w) what the boxes are placed by, see :meth:`Maps.place`.
        windows: For each size the weights (side, side) of the positions in a box: those of :func:`window` sum to 1, so
            that of several sizes the one with the highest mean wins.
        count: Boxes per image, K.
        overlap: The most that two boxes of an image overlap: intersection over union, from 0 to below 1.
    """
    positive, values, lines = place.clamp(min=0)[:, None], [], []
    for weights in windows:
        found = F.conv2d(positive, weights.to(place.device)[None, None])[:, 0]
        y, x = torch.meshgrid(*(torch.arange(length, device=place.device) for length in found.shape[1:]), indexing="ij")
        lines.append(torch.stack([x.flatten(), y.flatten(), torch.full_like(x, len(weights)).flatten()]))
        values.append(found.flatten(1))
    free, (x, y, side) = torch.cat(values, 1), torch.cat(lines, 1)
    picks, exists = [], []
    for _ in range(count):
        best, pick = free.max(1)
        picks.append(pick)
        exists.append(best.isfinite())
        mine = pick[:, None]
        common = _shared(x, x[mine], side, side[mine]) * _shared(y, y[mine], side, side[mine])
        union = side**2 + side[mine] ** 2 - common
        free = free.masked_fill(common > overlap * union, float("-inf"))
    index = torch.stack(picks, 1)
    return Boxes(torch.stack([x[index], y[index]], -1), side[index], torch.stack(exists, 1))


def _shared(start: Tensor, other: Tensor, length: Tensor, others: Tensor) -> Tensor:
    """Length that two intervals have in common."""
    return (torch.minimum(start + length, other + others) - torch.maximum(start, other)).clamp(min=0)


def image_scores(maps: Maps) -> Tensor:
    """(N,) float32 scores of whole images: S of the box that is all of the image."""
    return maps.difference.mean((1, 2))
