"""Stable Diffusion 1.x, 2.x and XL: a UNet that attends to a text encoder's states (Rombach et al., CVPR 2022)."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import LatentSpace, PixelSpace, VAESpace
from ddselect.backbone.loading import ModelSource


class StableDiffusion(Denoiser):
    """Wraps a UNet2DConditionModel. A condition is a row of the installed ``context``.

    Where ``model_index.json`` names a ``patch``, the model has no VAE and works on pixels; the embedded prior does.
    """

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        unet: UNet2DConditionModel = source.part(UNet2DConditionModel, "unet", dtype)
        super().__init__(source.title, unet, latent_space(source, dtype), source.schedule(), dtype)

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        context = self.embeddings(conditions)["context"]
        sample: Tensor = self.network(noisy, time, encoder_hidden_states=context).sample
        return sample


class StableDiffusionXL(StableDiffusion):
    """The same with a pooled embedding and size and crop ids (Podell et al. 2024).

    Images count as uncropped originals of the model's own size: the condition of its well-framed training images.
    """

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        rows = self.embeddings(conditions)
        height, width = (side * self.latents.downsampling for side in noisy.shape[2:])
        # original size, top-left corner of the crop, target size
        ids = torch.tensor([height, width, 0, 0, height, width], dtype=noisy.dtype, device=noisy.device)
        added = {"text_embeds": rows["pooled"], "time_ids": ids.expand(len(noisy), -1)}
        sample: Tensor = self.network(
            noisy, time, encoder_hidden_states=rows["context"], added_cond_kwargs=added
        ).sample
        return sample


def latent_space(source: ModelSource, dtype: torch.dtype) -> LatentSpace:
    """The latents of a text-conditional model: its VAE's, or pixels where its index names a patch."""
    if Path(source.path).is_dir() and not (Path(source.path) / "vae").is_dir():
        patch = source.model_index().get("patch")
        if patch:
            return PixelSpace(int(patch))
    return VAESpace(source, dtype)
