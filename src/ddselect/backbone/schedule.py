"""The forward process and the parameterisation: the one place that knows epsilon, v, sample and flow velocity."""

from typing import Any

import torch
from torch import Tensor, nn

from ddselect.runtime.errors import UserError

PREDICTIONS = ("epsilon", "v_prediction", "sample")  # of a diffusion; the first where its config says nothing
FLOW = "FlowMatch"  # how the names of schedulers of flow matching begin


class NoiseSchedule(nn.Module):
    """Noising of latents, z_t = signal_t z0 + sigma_t eps, and the target that the network was trained on, in fp32.

    Read from the model's own diffusers scheduler config, so that neither coefficients nor the prediction type are
    guessed. Step 0 is the least noisy one in every family.

    Attributes:
        signal: (T,) float32 coefficient of the clean latent; sqrt(alpha_bar) for a diffusion, 1 - sigma for a flow.
        prediction_type: ``epsilon``, ``v_prediction``, ``sample`` or ``flow``.
    """

    signal: Tensor
    sigma: Tensor  # (T,) float32 coefficient of the noise
    time: Tensor  # (T,) what the network is told about a step: its number for a diffusion, 1000 sigma for a flow

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler  # take seconds to import

        if str(config.get("_class_name", "")).startswith(FLOW):
            self.prediction_type = "flow"
            flow = FlowMatchEulerDiscreteScheduler.from_config(config)
            sigma = flow.sigmas.float().flip(0)  # the sampler's order is from noise to image
            signal, time = 1 - sigma, sigma * flow.config["num_train_timesteps"]
        else:
            scheduler = DDPMScheduler.from_config(config)
            self.prediction_type = str(scheduler.config["prediction_type"])
            if self.prediction_type not in PREDICTIONS:
                raise UserError(
                    f"scheduler config: prediction_type '{self.prediction_type}' is none of {', '.join(PREDICTIONS)}"
                )
            alphas_cumprod = scheduler.alphas_cumprod.float()
            signal, sigma = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
            time = torch.arange(len(sigma))
        self.register_buffer("signal", signal, persistent=False)
        self.register_buffer("sigma", sigma, persistent=False)
        self.register_buffer("time", time, persistent=False)

    def __len__(self) -> int:
        return len(self.sigma)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t. Shapes (N, C, H, W), (N, C, H, W), (N,)."""
        signal, sigma = self._coefficients(timesteps, latents)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict, (N, C, H, W) float32.

        v is that of Salimans and Ho (2022), the flow velocity that of Esser et al. (2024): d z_t / d sigma.
        """
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        if self.prediction_type == "flow":
            return noise - latents
        signal, sigma = self._coefficients(timesteps, latents)
        return signal * noise - sigma * latents

    def split(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What a prediction says of z_t: the clean latents and the noise in it, each (N, C, H, W) float32.

        The inverse of :meth:`target`: of the true target these are z0 and eps.
        """
        signal, sigma = self._coefficients(timesteps, noisy)
        if self.prediction_type == "epsilon":
            return (noisy - sigma * prediction) / signal, prediction
        if self.prediction_type == "sample":
            return prediction, (noisy - signal * prediction) / sigma
        if self.prediction_type == "flow":
            return noisy - sigma * prediction, noisy + signal * prediction
        return signal * noisy - sigma * prediction, sigma * noisy + signal * prediction

    def _coefficients(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *([1] * (like.dim() - 1)))
        return self.signal[timesteps].view(shape), self.sigma[timesteps].view(shape)


def stratified_timesteps(count: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """(count,) int64 timesteps, one in each equal part of [0, steps), in random order."""
    offsets = (torch.rand(1, generator=generator) + torch.arange(count) / count) % 1
    return (offsets * steps).long()[torch.randperm(count, generator=generator)]
