"""Loading parts of a diffusion model in the diffusers layout, from a local folder or a hub id; safetensors only."""

import json
from pathlib import Path
from typing import Any, Protocol

import torch

from ddselect.backbone.schedule import NoiseSchedule
from ddselect.runtime.errors import UserError, one_line, sentence


class _Loadable(Protocol):
    @classmethod
    def from_pretrained(cls, path: str, **options: Any) -> Any: ...


class ModelSource:
    """A diffusers model: a folder with ``unet/`` or ``transformer/``, ``scheduler/`` ..., or the id of one on the hub.

    Attributes:
        path: Local folder or hub id.
        title: Name for messages.
        variant: Variant of the weight files, e.g. ``fp16``; empty for the plain ones.
    """

    def __init__(self, path: str, title: str, variant: str = "") -> None:
        self.path, self.title, self.variant = path, title, variant

    def part(self, kind: _Loadable, subfolder: str, dtype: torch.dtype) -> Any:
        """Loads one part with its weights in a precision, in evaluation mode and without gradients.

        Raises:
            UserError: It is missing or damaged, here and on the hub.
        """
        variant = {"variant": self.variant} if self.variant else {}
        place = {"subfolder": subfolder} if self._file(f"{subfolder}/config.json") else {}
        if not place and not self._file("config.json"):
            raise self._missing(subfolder, OSError("no config.json"))
        try:
            model, found = kind.from_pretrained(
                self.path, use_safetensors=True, torch_dtype=dtype, output_loading_info=True, **place, **variant
            )
            if found["missing_keys"]:  # they would be random
                raise ValueError(f"its weights lack {min(found['missing_keys'])}")
        except (OSError, ValueError, RuntimeError) as error:
            raise self._missing(subfolder, error) from None
        return model.eval().requires_grad_(False)

    def folder(self) -> Path:
        """The model's files in a folder; those of a hub id are fetched where they are not in the cache.

        Fetched are its parts in the wanted variant, not the single-file checkpoints that many models have beside them.

        Raises:
            UserError: They cannot be had.
        """
        if Path(self.path).is_dir():
            return Path(self.path)
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.path, **self.wanted_files()))
        except (OSError, ValueError) as error:
            raise self._missing("all parts", error) from None

    def wanted_files(self) -> dict[str, Any]:
        """Patterns of the files on the hub that belong to the model: ``allow_patterns`` and ``ignore_patterns``."""
        weights = f"*.{self.variant}*.safetensors" if self.variant else "*.safetensors"
        parts = [f"*/{weights}", f"diffusion_pytorch_model{weights}"]  # a model of one part has it in the root
        others = [] if self.variant else ["*.*.safetensors"]
        return {"allow_patterns": ["*.json", "*.txt", "*.model", *parts], "ignore_patterns": others}

    def tokenizer(self, kind: _Loadable, subfolder: str) -> Any:
        """Loads a tokenizer.

        Raises:
            UserError: It is missing or damaged, here and on the hub.
        """
        if Path(self.path).exists() and not (Path(self.path) / subfolder).is_dir():
            raise self._missing(subfolder, OSError("the folder is missing"))
        try:
            return kind.from_pretrained(self.path, subfolder=subfolder)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise self._missing(subfolder, error) from None

    def schedule(self) -> NoiseSchedule:
        """The forward process of the model's own scheduler config."""
        name = "scheduler/scheduler_config.json"
        return NoiseSchedule(self._json(name, "scheduler_config.json"))

    def model_index(self) -> dict[str, Any]:
        """Content of ``model_index.json``: which parts there are, and what they do not say themselves.

        Raises:
            UserError: It is missing or damaged.
        """
        return self._json("model_index.json")

    def config(self, subfolder: str) -> dict[str, Any]:
        """Config of a part.

        Raises:
            UserError: It is missing or damaged.
        """
        return self._json(f"{subfolder}/config.json", "config.json")

    def weights(self, subfolder: str) -> Path:
        """The weight file of a small part.

        Raises:
            UserError: It is missing.
        """
        file = self._file(f"{subfolder}/diffusion_pytorch_model.safetensors")
        if file is None:
            raise self._missing(subfolder, OSError("no diffusion_pytorch_model.safetensors"))
        return file

    def _json(self, *names: str) -> dict[str, Any]:
        """The first of some JSON files that is there: small models of the hub keep their one part in the root."""
        found = [file for file in map(self._file, names) if file is not None]
        if not found:
            raise self._missing(names[0], OSError("no such file"))
        try:
            return dict(json.loads(found[0].read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"backbone {self.title}: {found[0]} is damaged ({one_line(error)})") from None

    def _file(self, name: str) -> Path | None:
        """A file of the model on this machine; fetched if it is on the hub only."""
        if Path(self.path).is_dir():
            file = Path(self.path) / name
            return file if file.is_file() else None
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.path, name))
        except (OSError, ValueError):  # what the hub's client raises for a missing file, repository or connection
            return None

    def _missing(self, part: str, error: Exception) -> UserError:
        from huggingface_hub import constants

        if Path(self.path).exists():
            place = Path(self.path).absolute() / part
            return UserError(f"backbone {self.title}: cannot load {place}: {sentence(error)}")
        return UserError(
            f"backbone {self.title}: '{self.path}' ({part}) is neither a local folder, nor in the cache "
            f"({constants.HF_HUB_CACHE}), nor to be had from the hub; fetch it with `hf download {self.path}` on a "
            "connected machine, or give a folder with backbone.path=<folder>"
        )
