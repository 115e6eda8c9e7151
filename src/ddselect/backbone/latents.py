"""Where a prior's noise lives: in the latents of its VAE, or in pixels."""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.backbone.loading import ModelSource


class LatentSpace(nn.Module, ABC):
    """From images to latents.

    Attributes:
        downsampling: Image pixels per latent position and side.
    """

    downsampling: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 images to (N, C, h, w) float32 latents z0: the mean, scaled; no sampling."""


class PixelSpace(LatentSpace):
    """Pixels in [-1, 1], with ``patch`` pixels per side folded into channels (space to depth)."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.downsampling = patch

    def encode(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images.float() / 127.5 - 1, self.downsampling)


class VAESpace(LatentSpace):
    """The latents of an AutoencoderKL, with the scaling and shift of its own config.

    It computes in float32 where its config asks for it (``force_upcast``), else in the network's precision.
    """

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKL  # seconds to import, which pixels do not need

        super().__init__()
        self.dtype = torch.float32 if source.config("vae").get("force_upcast", True) else dtype
        self.vae: Any = source.part(AutoencoderKL, "vae", self.dtype)
        self.vae.decoder = nn.Identity()  # nothing is ever decoded
        self.downsampling = 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    def encode(self, images: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode((images.float() / 127.5 - 1).to(self.dtype)).latent_dist.mode()
        shift = self.vae.config.get("shift_factor") or 0.0
        return (mean.float() - shift) * self.vae.config["scaling_factor"]
