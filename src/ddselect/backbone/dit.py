"""DiT: a latent diffusion transformer, conditional on the 1000 ImageNet classes (Peebles and Xie, ICCV 2023)."""

from typing import ClassVar

import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import VAESpace
from ddselect.backbone.loading import ModelSource
from ddselect.runtime.errors import UserError


class DiT(Denoiser):
    """Wraps a DiT transformer and its VAE. A condition is a class index; the null class follows the last class."""

    part: ClassVar[str] = "transformer"

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        transformer: DiTTransformer2DModel = source.part(DiTTransformer2DModel, "transformer", dtype)
        latents = VAESpace(source, dtype)
        super().__init__(source.title, transformer, latents, source.schedule(), dtype)
        self.side = int(transformer.config["sample_size"])

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        wanted = self.side * self.latents.downsampling  # its position embedding is made for one size
        if image_size != wanted:
            raise UserError(
                f"backbone {self.title} takes {wanted} px, not {image_size}: set backbone.image_size={wanted}"
            )
        return self.latent_channels, self.side, self.side

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        sample: Tensor = self.network(noisy, timestep=time, class_labels=conditions).sample
        return sample
