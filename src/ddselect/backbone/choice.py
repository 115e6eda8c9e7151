"""The ``backbone`` group: which diffusion prior to load, from where, in which precision, adapted or not."""

import importlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import torch

from ddselect.backbone.adapt import AdaptConfig
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.fit import check_fit
from ddselect.backbone.latents import latent_side
from ddselect.backbone.loading import ModelSource
from ddselect.backbone.lora import adapter_file, merge_lora, require_peft
from ddselect.dataset.classes import imagenet_classes
from ddselect.prompt.conditions import Conditions
from ddselect.prompt.modes import PromptConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import folder_signature
from ddselect.runtime.hardware import computes_in_bf16
from ddselect.runtime.store import execution

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PACKAGED = ("embedded", "embedded_text", "cifar10")  # folders in this package
_TEXTS_AT_ONCE = 32
_ODD_NAMES = (  # what a class name may have that no caption has, what it is, and the remedy
    (r"n\d{8}", "a WordNet ID, which says nothing to it", "dataset.names=imagenet, or a file of names"),
    (r"_", "which no caption writes so", "dataset.names=<file> with names in plain words"),
)
_OTHERS = (  # than a prior that does not know the classes
    "use prompt=none, a text-conditional backbone (sd15, sd21, sdxl, sd3), or a prior trained on these classes "
    "(backbone=class_unet backbone/adapt=scratch)"
)
MODEL, LORA = "model", "lora"  # what an adaptation leaves


@dataclass
class BackboneConfig:
    """A diffusion prior; see ``conf/backbone/``.

    Attributes:
        adapt: How to fine-tune the prior on the dataset first.
    """

    name: str
    path: str
    image_size: int
    dtype: str = "auto"
    variant: str = ""
    compile: bool = execution(False)
    lora: str = ""
    adapt: AdaptConfig = field(default_factory=AdaptConfig)

    family: ClassVar[str] = ""  # module:class, imported when it is loaded: diffusers takes seconds to import
    options: ClassVar[tuple[str, ...]] = ()  # of the group: those whose models it loads
    small: ClassVar[bool] = False  # whether there is a small network of its kind to train from scratch

    def __post_init__(self) -> None:
        if self.dtype == "auto":
            self.dtype = "bf16" if computes_in_bf16() else "fp32"
        if self.dtype not in DTYPES:
            raise UserError(f"backbone.dtype={self.dtype}: choose one of auto, {', '.join(DTYPES)}")

    @property
    def source(self) -> ModelSource:
        """The model's files."""
        path = str(files("ddselect.backbone") / self.path) if self.path in _PACKAGED else self.path
        return ModelSource(path, self.name, self.variant)

    def signature(self) -> str:
        """Changes when the weights in local folders do."""
        lora = folder_signature(Path(self.lora)) if self.lora else ""
        return folder_signature(Path(self.source.path)) + lora

    def without_places(self) -> "BackboneConfig":
        """The settings without the folders of its weights, which :meth:`signature` tells by their content."""
        return replace(self, path="", lora="")

    def check(self, prompt: PromptConfig, class_names: list[str], class_folders: list[str]) -> None:
        """Refuses what would fail later, before any work; loads no weights.

        Raises:
            UserError: The prompt mode does not suit the backbone, or it does not know a class.
        """
        raise UserError(f"backbone {self.name}: class {type(self).__name__} has no conditions")

    def check_files(self, sides: Collection[int]) -> None:
        """Refuses files that are no such model, and images of sides in pixels that it cannot take; loads no weights.

        Raises:
            UserError: As :func:`ddselect.backbone.fit.check_fit`; or there is no adapter, or no way to adapt it so.
        """
        self.check_adaptation()
        if self.adapt.mode == "scratch":
            for side in sides:
                latent_side(self.name, {"block_out_channels": self.adapt.channels}, self.adapt.patch, side)
            return
        if self.lora:
            adapter_file(Path(self.lora))
        if self.options:
            check_fit(self.source, self.options, sides)

    def check_adaptation(self) -> None:
        """Refuses an adaptation that this prior cannot have.

        Raises:
            UserError: So it is.
        """
        if self.adapt.mode == "lora":
            require_peft()
            if self.lora:
                raise UserError(
                    f"backbone/adapt=lora: backbone.lora={self.lora} would be lost; use backbone/adapt=full"
                )
        if self.adapt.mode == "scratch" and not self.small:
            raise UserError(
                f"backbone/adapt=scratch: backbone {self.name} is too large to train from scratch; use "
                "backbone=class_unet or embedded_text, or fine-tune it with backbone/adapt=lora"
            )

    def conditions(
        self, prompt: PromptConfig, class_names: list[str], class_folders: list[str], device: torch.device
    ) -> Conditions:
        """The conditions of the dataset's classes under a prompt mode.

        Raises:
            UserError: As :meth:`check`; also if files are missing.
        """
        raise UserError(f"backbone {self.name}: class {type(self).__name__} has no conditions")

    def load(self, device: torch.device, dtype: torch.dtype | None = None) -> Denoiser:
        """The prior, frozen, on a device, in the configured precision or another.

        Raises:
            UserError: Its files are missing.
        """
        module, _, name = self.family.partition(":")
        kind = getattr(importlib.import_module(module), name)
        denoiser: Denoiser = kind(self.source, dtype or DTYPES[self.dtype])
        if self.lora:
            merge_lora(denoiser, Path(self.lora))
        if self.compile:
            denoiser.network.compile(dynamic=False)  # in place: the names of the weights stay
            denoiser.is_compiled = True
        return denoiser.to(device).eval()


def adapted(backbone: BackboneConfig, folder: Path) -> BackboneConfig:
    """The backbone that a finished adaptation left in its folder."""
    if backbone.adapt.mode == "lora":
        return replace(backbone, lora=str(folder / LORA), adapt=AdaptConfig())
    return replace(backbone, path=str(folder / MODEL), lora="", adapt=AdaptConfig())  # the adapter was merged


@dataclass
class ClassBackboneConfig(BackboneConfig):
    """A prior that is conditional on class indices, the last of which is the null class, or unconditional."""

    def indices(self, class_names: list[str], class_folders: list[str]) -> tuple[list[int], int]:
        """The model's own indices of the dataset's classes, and of the null class.

        Raises:
            UserError: The model does not know one of them, or knows no classes at all.
        """
        raise UserError(f"backbone {self.name}: class {type(self).__name__} knows no classes")

    def null_class(self) -> int:
        """Index of the class that stands for no condition; 0 for an unconditional model."""
        raise UserError(f"backbone {self.name}: class {type(self).__name__} has no null class")

    def check(self, prompt: PromptConfig, class_names: list[str], class_folders: list[str]) -> None:
        if prompt.mode == "text":
            raise UserError(
                f"prompt=text: backbone {self.name} takes classes, not sentences; use prompt=label or none, or a "
                "text-conditional backbone (sd15, sd21, sdxl, sd3; embedded_text for the embedded dataset)"
            )
        if self.adapt.mode == "scratch":
            return
        self.null_class()
        if prompt.mode == "label":
            self.indices(class_names, class_folders)

    def conditions(
        self, prompt: PromptConfig, class_names: list[str], class_folders: list[str], device: torch.device
    ) -> Conditions:
        self.check(prompt, class_names, class_folders)
        if prompt.mode == "none":
            return Conditions(
                [self.null_class()] * len(class_names), None, {}, ["(no condition)"] * len(class_names) + [""]
            )
        positive, null = self.indices(class_names, class_folders)
        return Conditions(positive, null, {}, [f"class {k}" for k in positive] + [f"null class {null}"])


@dataclass
class ClassUNetConfig(ClassBackboneConfig):
    """A ``UNet2DModel`` in pixel space; its ``model_index.json`` names its classes (``id2label``)."""

    family: ClassVar[str] = "ddselect.backbone.families:ClassUNet"
    options: ClassVar[tuple[str, ...]] = ("class_unet", "ddpm")
    small: ClassVar[bool] = True

    def _names(self) -> list[str]:
        label_of = self.source.model_index().get("id2label") or {}
        return [str(name) for _, name in sorted(label_of.items(), key=lambda item: int(item[0]))]

    def _embeddings(self) -> int:
        """Number of class embeddings of the UNet; 0 for an unconditional one."""
        return int(self.source.config("unet").get("num_class_embeds") or 0)

    def null_class(self) -> int:
        names, embeddings = self._names(), self._embeddings()
        if embeddings and names and embeddings != len(names) + 1:
            raise UserError(
                f"backbone {self.name}: the UNet has {embeddings} class embeddings for {len(names)} class names; one "
                "more is needed, the last for the null class"
            )
        return max(0, embeddings - 1)

    def indices(self, class_names: list[str], class_folders: list[str]) -> tuple[list[int], int]:
        names, embeddings = self._names(), self._embeddings()
        others = f"{_OTHERS}, or backbone=dit_xl_2_256 for ImageNet classes"
        if not embeddings:
            raise UserError(f"backbone {self.name} is unconditional and knows no classes; {others}")
        if not names:
            raise UserError(
                f"backbone {self.name}: {self.source.path}/model_index.json does not say which classes it knows "
                "('id2label': an object from index to class name)"
            )
        unknown = [name for name in class_names if name not in names]
        if unknown:
            raise UserError(
                f"backbone {self.name} knows the classes {', '.join(names[:10])}, not '{unknown[0]}'; {others}"
            )
        return [names.index(name) for name in class_names], self.null_class()


@dataclass
class DiTConfig(ClassBackboneConfig):
    """A DiT with its VAE: the 1000 ImageNet classes, and the null class after them."""

    family: ClassVar[str] = "ddselect.backbone.families:DiT"
    options: ClassVar[tuple[str, ...]] = ("dit_xl_2_256", "dit_xl_2_512")

    def null_class(self) -> int:
        return 1000

    def indices(self, class_names: list[str], class_folders: list[str]) -> tuple[list[int], int]:
        known = {folder: i for i, folder in enumerate(imagenet_classes())}
        unknown = [folder for folder in class_folders if folder not in known]
        if unknown:
            raise UserError(
                f"backbone {self.name} knows the ImageNet-1K classes only: class folder '{unknown[0]}' is not one of "
                f"their WordNet IDs; {_OTHERS}"
            )
        return [known[folder] for folder in class_folders], self.null_class()


def _remark_on_names(prior: str, names: list[str]) -> None:
    """Says where a prior is told class names that are none of a language."""
    from ddselect.runtime.progress import note

    for pattern, what, remedy in _ODD_NAMES:
        if odd := [name for name in names if re.search(pattern, name)]:
            several = f" and {len(odd) - 1} more like it" if len(odd) > 1 else ""
            note(f"backbone {prior} is told '{odd[0]}'{several}, {what}; set {remedy}", "yellow")


@dataclass
class TextBackboneConfig(BackboneConfig):
    """A prior that is conditional on text."""

    encoder: ClassVar[str] = ""  # module:class of its text encoder

    def check(self, prompt: PromptConfig, class_names: list[str], class_folders: list[str]) -> None:
        texts = prompt.texts(class_names, class_folders)
        told = [name for name, mine in zip(class_names, texts.positive, strict=True) if any(name in t for t in mine)]
        if self.adapt.mode != "scratch":  # which learns names as they are
            _remark_on_names(self.name, told)

    @torch.inference_mode()
    def encode(self, texts: list[str], device: torch.device) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Embeddings of texts, on the processor, and the texts of which the end is cut off for them.

        The text encoder is gone when this returns.
        """
        from ddselect.backbone.text import TextEncoder
        from ddselect.runtime.progress import note

        module, _, name = self.encoder.partition(":")
        encoder: TextEncoder = getattr(importlib.import_module(module), name)(self.source, DTYPES[self.dtype])
        encoder.to(device).eval()
        shortened = encoder.truncated(texts)
        for text in shortened:
            note(f"  prompt too long for {self.name}, its end is cut off: {text}", "yellow")
        parts = [encoder.encode(texts[i : i + _TEXTS_AT_ONCE]) for i in range(0, len(texts), _TEXTS_AT_ONCE)]
        return {key: torch.cat([part[key].cpu() for part in parts]) for key in parts[0]}, shortened

    def conditions(
        self, prompt: PromptConfig, class_names: list[str], class_folders: list[str], device: torch.device
    ) -> Conditions:
        texts = prompt.texts(class_names, class_folders)
        wanted = [*texts.positive, *([texts.reference] if texts.reference is not None else [])]
        sets = list(dict.fromkeys(tuple(mine) for mine in wanted))
        single = list(dict.fromkeys(text for mine in sets for text in mine))
        rows, shortened = self.encode(single, device)
        table = {
            key: torch.stack([values[[single.index(text) for text in mine]].mean(0) for mine in sets])
            for key, values in rows.items()
        }
        numbers = [sets.index(tuple(mine)) for mine in wanted]
        words = [" | ".join(text or "(empty prompt)" for text in mine) for mine in wanted]
        if texts.reference is None:
            return Conditions(numbers, None, table, [*words, ""], shortened)
        return Conditions(numbers[:-1], numbers[-1], table, words, shortened)


@dataclass
class StableDiffusionConfig(TextBackboneConfig):
    """Stable Diffusion 1.x or 2.x."""

    family: ClassVar[str] = "ddselect.backbone.families:StableDiffusion"
    encoder: ClassVar[str] = "ddselect.backbone.text:CLIPText"
    options: ClassVar[tuple[str, ...]] = ("sd15", "sd21")
    small: ClassVar[bool] = True


@dataclass
class StableDiffusionXLConfig(TextBackboneConfig):
    """Stable Diffusion XL."""

    family: ClassVar[str] = "ddselect.backbone.families:StableDiffusionXL"
    encoder: ClassVar[str] = "ddselect.backbone.text:SDXLText"
    options: ClassVar[tuple[str, ...]] = ("sdxl",)


@dataclass
class StableDiffusion3Config(TextBackboneConfig):
    """Stable Diffusion 3: flow matching."""

    family: ClassVar[str] = "ddselect.backbone.families:StableDiffusion3"
    encoder: ClassVar[str] = "ddselect.backbone.text:SD3Text"
    options: ClassVar[tuple[str, ...]] = ("sd3",)
