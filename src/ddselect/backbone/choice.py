"""The ``backbone`` group: which diffusion prior to load, from where, in which precision."""

from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

import torch

from ddselect.backbone.class_unet import ClassUNet
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.dit import DiT
from ddselect.backbone.loading import ModelSource
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import computes_in_bf16

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Backbone:
    """A diffusion prior; see ``conf/backbone/``.

    Attributes:
        name: Name in results and reports.
        path: Folder in the diffusers layout, or a hub id; ``embedded`` is the prior in the package.
        image_size: Side in pixels of the square view that the prior sees.
        dtype: Precision of the network: ``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 where the machine computes
            in it and fp32 elsewhere (the choice is made here, so results and fingerprints name it).
    """

    name: str
    path: str
    image_size: int
    dtype: str = "auto"

    family: ClassVar[type[ClassUNet] | type[DiT]]

    def __post_init__(self) -> None:
        if self.dtype == "auto":
            self.dtype = "bf16" if computes_in_bf16() else "fp32"
        if self.dtype not in _DTYPES:
            raise UserError(f"backbone.dtype={self.dtype}: choose one of auto, {', '.join(_DTYPES)}")

    def load(self, device: torch.device) -> Denoiser:
        """The prior, frozen, on a device.

        Raises:
            UserError: Its files are missing.
        """
        path = str(files("ddselect.backbone") / "embedded") if self.path == "embedded" else self.path
        return type(self).family(ModelSource(path, self.name), _DTYPES[self.dtype]).to(device).eval()


@dataclass
class ClassUNetBackbone(Backbone):
    """A class-conditional ``UNet2DModel`` in pixel space, as ``python -m ddselect.backbone.train`` makes one."""

    family = ClassUNet


@dataclass
class DiTBackbone(Backbone):
    """A DiT with its VAE."""

    family = DiT
