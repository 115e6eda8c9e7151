"""The forward process and the parameterisation of a diffusion model: the one place that knows epsilon, v and sample."""

from typing import Any

import torch
from torch import Tensor, nn

from ddselect.runtime.errors import UserError


class NoiseSchedule(nn.Module):
    """Noising of latents and the target that the network was trained on, in fp32.

    Read from the model's own diffusers scheduler config, so that the betas and the prediction type are never guessed.

    Attributes:
        alphas_cumprod: (T,) float32, the cumulative products of 1 - beta.
        prediction_type: ``epsilon``, ``v_prediction`` or ``sample``.
    """

    alphas_cumprod: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from diffusers import DDPMScheduler  # takes seconds to import

        scheduler = DDPMScheduler.from_config(config)
        self.prediction_type: str = scheduler.config["prediction_type"]
        if self.prediction_type not in ("epsilon", "v_prediction", "sample"):
            raise UserError(
                f"scheduler config: prediction_type '{self.prediction_type}' is none of epsilon, v_prediction, sample"
            )
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.float(), persistent=False)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t = sqrt(a) z0 + sqrt(1 - a) eps. Shapes (N, C, H, W), (N, C, H, W), (N,)."""
        signal, sigma = self._coefficients(timesteps, latents)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict, (N, C, H, W) float32 (Salimans and Ho 2022 for v)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        signal, sigma = self._coefficients(timesteps, latents)
        return signal * noise - sigma * latents

    def _coefficients(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod[timesteps].view(-1, *([1] * (like.dim() - 1)))
        return alphas.sqrt(), (1 - alphas).sqrt()


# Config of the schedule that the embedded prior uses (Nichol and Dhariwal 2021).
COSINE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"}


def stratified_timesteps(count: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """(count,) int64 timesteps, one in each equal part of [0, steps), in random order."""
    offsets = (torch.rand(1, generator=generator) + torch.arange(count) / count) % 1
    return (offsets * steps).long()[torch.randperm(count, generator=generator)]
