"""Stable Diffusion 3: a multimodal transformer trained by flow matching (Esser et al., ICML 2024)."""

from typing import ClassVar

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import VAESpace
from ddselect.backbone.loading import ModelSource


class StableDiffusion3(Denoiser):
    """Wraps an SD3 transformer and its VAE. A condition is a row of the installed ``context`` and ``pooled``."""

    part: ClassVar[str] = "transformer"

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        transformer: SD3Transformer2DModel = source.part(SD3Transformer2DModel, "transformer", dtype)
        latents = VAESpace(source, dtype)
        super().__init__(source.title, transformer, latents, source.schedule(), dtype)

    @property
    def multiple(self) -> int:
        return int(self.config["patch_size"])

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        rows = self.embeddings(conditions)
        sample: Tensor = self.network(
            noisy, timestep=time, encoder_hidden_states=rows["context"], pooled_projections=rows["pooled"]
        ).sample
        return sample
