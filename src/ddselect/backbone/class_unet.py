"""UNet2DModel in pixel space, class-conditional or unconditional; the embedded prior is one."""

import torch
from diffusers import UNet2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import PixelSpace
from ddselect.backbone.loading import ModelSource


class ClassUNet(Denoiser):
    """Wraps a UNet2DModel. A condition is a class index; a UNet without class embedding ignores it.

    ``model_index.json`` beside it says how many pixels per side space-to-depth folds into channels (``patch``, 1 if it
    says nothing).
    """

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        unet: UNet2DModel = source.part(UNet2DModel, "unet", dtype)
        self.is_conditional = bool(unet.config["num_class_embeds"])
        patch = int(source.model_index().get("patch", 1))
        super().__init__(source.title, unet, PixelSpace(patch), source.schedule(), dtype)

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        labels = conditions if self.is_conditional else None
        sample: Tensor = self.network(noisy, time, class_labels=labels).sample
        return sample
