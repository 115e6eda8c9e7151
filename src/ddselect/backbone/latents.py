"""Where a prior's noise lives: in the latents of its VAE, or in pixels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.backbone.loading import ModelSource
from ddselect.runtime.errors import UserError


class LatentSpace(nn.Module, ABC):
    """From images to latents and back."""

    downsampling: int  # image pixels per latent position and side
    limit: float | None = None  # largest absolute value of a latent; None where there is no such

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 images to (N, C, h, w) float32 latents z0: the mean, scaled; no sampling."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) float32 latents to (N, 3, S, S) uint8 images."""


class PixelSpace(LatentSpace):
    """Pixels in [-1, 1], with ``patch`` pixels per side folded into channels (space to depth)."""

    limit = 1.0

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.downsampling = patch

    def encode(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images.float() / 127.5 - 1, self.downsampling)

    def decode(self, latents: Tensor) -> Tensor:
        return _to_uint8(F.pixel_shuffle(latents, self.downsampling))


class VAESpace(LatentSpace):
    """The latents of an AutoencoderKL, with the scaling and shift of its own config.

    It computes in float32 where its config asks for it (``force_upcast``), else in the network's precision.
    """

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKL  # seconds to import, which pixels do not need

        super().__init__()
        self.dtype = torch.float32 if source.config("vae").get("force_upcast", True) else dtype
        self.vae: Any = source.part(AutoencoderKL, "vae", self.dtype)
        self.vae.decoder = nn.Identity()  # scoring decodes nothing
        self._whole = partial(source.part, AutoencoderKL, "vae", self.dtype)
        self.downsampling = downsampling(self.vae.config)

    def encode(self, images: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode((images.float() / 127.5 - 1).to(self.dtype)).latent_dist.mode()
        shift = self.vae.config.get("shift_factor") or 0.0
        return (mean.float() - shift) * self.vae.config["scaling_factor"]

    def decode(self, latents: Tensor) -> Tensor:
        if isinstance(self.vae.decoder, nn.Identity):
            self.vae.decoder = self._whole().decoder.to(latents.device)
        shift = self.vae.config.get("shift_factor") or 0.0
        values = latents / self.vae.config["scaling_factor"] + shift
        return _to_uint8(self.vae.decode(values.to(self.dtype)).sample.float())


def downsampling(vae: Mapping[str, Any]) -> int:
    """Image pixels per latent position and side of a VAE, by its config."""
    return int(2 ** (len(vae["block_out_channels"]) - 1))


def latent_side(title: str, network: Mapping[str, Any], factor: int, image_size: int) -> int:
    """Positions per side of the latents of square images, for a network's config and pixels per position.

    Raises:
        UserError: The size does not suit the model.
    """
    side, rest = divmod(image_size, factor)
    if network.get("norm_type") == "ada_norm_zero":  # a DiT, whose position embedding is made for one size
        if image_size != (wanted := int(network["sample_size"]) * factor):
            raise UserError(f"backbone {title} takes {wanted} px, not {image_size}: set backbone.image_size={wanted}")
        return side
    multiple = int(network["patch_size"] if "patch_size" in network else 2 ** (len(network["block_out_channels"]) - 1))
    if rest or side % multiple:
        raise UserError(f"backbone {title}: image size {image_size} is not a multiple of {factor * multiple}")
    if side > (most := multiple * int(network.get("pos_embed_max_size") or side)):
        raise UserError(f"backbone {title} takes {most * factor} px at most, not {image_size}")
    return side


def _to_uint8(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] to uint8."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte()
