"""The ``backbone`` group: which diffusion prior to load, from where, in which precision."""

import importlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import torch

from ddselect.backbone.denoiser import Denoiser
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import folder_signature
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

    family: ClassVar[str] = ""  # module:class, imported when it is loaded: diffusers takes seconds to import

    def __post_init__(self) -> None:
        if self.dtype == "auto":
            self.dtype = "bf16" if computes_in_bf16() else "fp32"
        if self.dtype not in _DTYPES:
            raise UserError(f"backbone.dtype={self.dtype}: choose one of auto, {', '.join(_DTYPES)}")

    @property
    def source(self) -> str:
        """Folder or hub id of the model."""
        return str(files("ddselect.backbone") / "embedded") if self.path == "embedded" else self.path

    def signature(self) -> str:
        """Changes when the weights in a local folder do."""
        return folder_signature(Path(self.source))

    def load(self, device: torch.device) -> Denoiser:
        """The prior, frozen, on a device.

        Raises:
            UserError: Its files are missing.
        """
        from ddselect.backbone.loading import ModelSource

        module, _, name = self.family.partition(":")
        kind = getattr(importlib.import_module(module), name)
        denoiser: Denoiser = kind(ModelSource(self.source, self.name), _DTYPES[self.dtype])
        return denoiser.to(device).eval()


@dataclass
class ClassUNetBackbone(Backbone):
    """A class-conditional ``UNet2DModel`` in pixel space, as ``python -m ddselect.backbone.train`` makes one."""

    family: ClassVar[str] = "ddselect.backbone.class_unet:ClassUNet"


@dataclass
class DiTBackbone(Backbone):
    """A DiT with its VAE."""

    family: ClassVar[str] = "ddselect.backbone.dit:DiT"
