"""The score: differences of denoising losses between two conditions. Functions of tensors, nothing else."""

import torch
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.runtime.errors import NumericalError
from ddselect.scoring.draws import Draws
from ddselect.scoring.maps import Maps


class _CrossTerms:
    """What the errors of different draws have to do with each other, gathered draw by draw.

    The difference of two losses is a product, |e0|^2 - |e1|^2 = (e0 - e1)(e0 + e1), here of one and the same draw. The
    products of the first factor of one draw with the second of another tell as well how much better the label predicts,
    now of the mean predictions, and there are many more of them: count * (count - 1). Over few draws they vary less.
    """

    def __init__(self, like: Tensor) -> None:
        self._gaps, self._sums = torch.zeros_like(like), torch.zeros_like(like)
        self._same, self._count = torch.zeros_like(like[:, 0]), 0

    def add(self, error: Tensor, other: Tensor) -> None:
        """A draw's errors (N, C, h, w) under the positive and the reference condition."""
        gap, total = other - error, other + error
        self._gaps += gap
        self._sums += total
        self._same += (gap * total).mean(1)
        self._count += 1

    def mean(self) -> Tensor:
        """(N, h, w) their mean over all ordered pairs of different draws."""
        return ((self._gaps * self._sums).mean(1) - self._same) / (self._count * (self._count - 1))


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
    cross_draw_weight: float = 0.0,
) -> Maps:
    """Scores the latents of a batch of images (docs/concepts/score.md).

    Both conditions see the same timesteps and noise and go through the network in one batch.

    Latents are (N, C, h, w) float32 z0, hashes the N keys of the noise, positive conditions (N,) int64. Without a
    reference condition (None) the loss itself is used, and there are no cross terms; these need two draws or more, and
    ``cross_draw_weight`` is their share in the difference, from 0 to 1.

    Raises:
        LossError: A loss is not finite.
    """
    device, count = latents.device, len(latents)
    timesteps = draws.timesteps(hashes, len(denoiser.schedule)).to(device)
    classes = positive if reference is None else torch.cat([positive, torch.full_like(positive, reference)])
    copies = len(classes) // count
    losses = torch.zeros(len(classes), *latents.shape[2:], device=device)
    shift = torch.zeros(count, *latents.shape[2:], device=device)
    terms = _CrossTerms(latents.float()) if cross_draw_weight and reference is not None else None
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
                f"({str(denoiser.dtype)[6:]}); {denoiser.remedy}",
                worst,
            )
        losses += loss / draws.count
        if reference is not None:
            shift += (error[count:] - error[:count]).pow(2).mean(1) / draws.count
        if terms is not None:
            terms.add(error[:count], error[count:])
    own = losses[:count]
    if reference is None:
        difference = own - own.mean((1, 2), keepdim=True)
        return Maps(difference, difference, difference.mean((1, 2)))
    difference = losses[count:] - own
    if terms is not None:
        difference = torch.lerp(difference, terms.mean(), cross_draw_weight)
    return Maps(difference, shift, difference.mean((1, 2)) / losses[count:].mean((1, 2)))
