"""A diffusion prior as a network that embeds images."""

import torch
from torch import Tensor, nn

from ddselect.backbone.denoiser import Denoiser
from ddselect.scoring.draws import Draws


class PriorNetwork(nn.Module):
    """The middle of a prior's network at one noise level, under one condition.

    Every image gets the same noise, that of the seed: what differs between two embeddings is then the images, and
    batches, order and ranks change nothing.
    """

    def __init__(self, denoiser: Denoiser, condition: int, level: float, seed: int) -> None:
        """An embedding network.

        The condition says nothing of the class; the level is a share of the schedule.
        """
        super().__init__()
        self.denoiser, self.condition = denoiser, condition
        self.timestep = min(int(level * len(denoiser.schedule)), len(denoiser.schedule) - 1)
        self.draws = Draws(1, antithetic=False, band=(0.0, 1.0), seed=seed)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) float in [0, 1] to features (N, D) float32."""
        latents = self.denoiser.encode((images * 255).round().byte())
        noise = self.draws.noise([""], 0, tuple(latents.shape[1:])).to(latents.device).expand(len(latents), -1, -1, -1)
        timesteps, conditions = (
            torch.full((len(latents),), value, device=latents.device) for value in (self.timestep, self.condition)
        )
        return self.denoiser.middle_activations(latents, noise, timesteps, conditions)
