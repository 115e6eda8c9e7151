"""DiT: a latent diffusion transformer, conditional on the 1000 ImageNet classes (Peebles and Xie, ICCV 2023)."""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.loading import ModelSource
from ddselect.dataset.classes import imagenet_classes
from ddselect.runtime.errors import UserError


class DiT(Denoiser):
    """Wraps a DiT transformer and its VAE.

    The transformer's null class follows its last class; where it predicts the variance too (learned sigma), the output
    has twice the channels and the second half is dropped.
    """

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        super().__init__()
        self.transformer: DiTTransformer2DModel = source.part(DiTTransformer2DModel, "transformer").to(dtype)
        self.vae: AutoencoderKL = source.part(AutoencoderKL, "vae").float()
        self.schedule = source.schedule()
        self.title, self.dtype = source.title, dtype
        self.latent_channels = int(self.transformer.config["in_channels"])
        self.downsampling = 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        self.null_class = int(self.transformer.config["num_embeds_ada_norm"])
        self.side = int(self.transformer.config["sample_size"])

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        if image_size != self.side * self.downsampling:
            wanted = self.side * self.downsampling
            raise UserError(
                f"backbone {self.title} takes {wanted} px, not {image_size}: set backbone.image_size={wanted}"
            )
        return super().latent_shape(image_size)

    def encode(self, images: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(images.float() / 127.5 - 1).latent_dist.mode()
        shift = self.vae.config.get("shift_factor") or 0.0
        return (mean - shift) * self.vae.config["scaling_factor"]

    def predict(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        sample: Tensor = self.transformer(noisy.to(self.dtype), timestep=timesteps, class_labels=classes).sample
        return sample[:, : self.latent_channels].float()

    def class_indices(self, class_names: Sequence[str], class_folders: Sequence[str]) -> list[int]:
        known = {folder: i for i, folder in enumerate(imagenet_classes())}
        unknown = [folder for folder in class_folders if folder not in known]
        if unknown:
            raise UserError(
                f"backbone {self.title} knows the ImageNet-1K classes only: class folder '{unknown[0]}' is not one of "
                "their WordNet IDs; use prompt=none, or a prior trained on these classes (backbone=class_unet)"
            )
        return [known[folder] for folder in class_folders]
