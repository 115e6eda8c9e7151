"""Images from a prior: deterministic sampling with guidance, from noise or from given latents."""

import torch
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: Tensor,
    positive: Tensor,
    reference: int | None,
    guidance: float,
    steps: int,
    start: Tensor | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Samples latents by DDIM (Song et al., ICLR 2021), for a flow Euler's method: the same step in z0 and eps.

    Guidance is classifier-free (Ho and Salimans 2022): reference + guidance (positive - reference) of the predictions.
    ``noise`` is (N, C, h, w) float32 standard normal, ``positive`` (N,) int64 conditions, as installed. Without a
    ``reference`` there is no guidance; a guidance of 1 is the conditional model itself, more is less diverse. ``steps``
    is the number of network calls per image and condition. ``strength`` is the share of the schedule that is run
    through, in (0, 1], and below 1 with ``start`` only: (N, C, h, w) float32 latents to begin with, noised to it.
    Returned are (N, C, h, w) float32 latents z0.
    """
    schedule, limit = denoiser.schedule, denoiser.latents.limit
    top = max(1, round(strength * len(schedule)))
    times = [max(0, round(top * (1 - step / steps)) - 1) for step in range(steps)]
    at = [torch.full((len(noise),), time, device=noise.device) for time in times]
    noisy = noise if start is None else schedule.add_noise(start, noise, at[0])
    clean = noisy
    for number, now in enumerate(at):
        clean, error = schedule.split(noisy, _guided(denoiser, noisy, now, positive, reference, guidance), now)
        clean = clean if limit is None else clean.clamp(-limit, limit)
        if number + 1 < steps:
            noisy = schedule.add_noise(clean, error, at[number + 1])
    return clean


def _guided(
    denoiser: Denoiser, noisy: Tensor, time: Tensor, positive: Tensor, reference: int | None, guidance: float
) -> Tensor:
    """The guided prediction, both conditions in one call."""
    if reference is None or guidance == 1:
        return denoiser.predict(noisy, time, positive)
    both = torch.cat([positive, torch.full_like(positive, reference)])
    wanted, other = denoiser.predict(noisy.repeat(2, 1, 1, 1), time.repeat(2), both).chunk(2)
    return other + guidance * (wanted - other)
