"""Loading parts of a diffusion model in the diffusers layout, from a local folder or a hub id; safetensors only."""

import json
import re
from pathlib import Path
from typing import Any, Protocol

import torch

from ddselect.backbone.schedule import NoiseSchedule
from ddselect.runtime.errors import UserError, one_line, sentence

# diffusion_pytorch_model, model.fp16, model.fp16-00001-of-00002: the middle is the variant
_WEIGHTS = re.compile(r"\w+?(?:\.(\w+))?(?:-\d+-of-\d+)?\.safetensors")


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

        What its class keeps in float32 by itself, such as some of T5's layers under fp16, stays so.

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
        kept = getattr(kind, "_keep_in_fp32_modules", None) or ()
        for name, parameter in model.named_parameters():  # some loaders leave weights in the precision they are kept in
            if not {*kept}.intersection(name.split(".")):
                parameter.data = parameter.data.to(dtype)
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

    def check_weights(self, subfolder: str) -> None:
        """Refuses a part of a local folder that has no weights in the wanted variant.

        Raises:
            UserError: So it is.
        """
        if Path(self.path).is_dir() and self.variant not in self._variants(subfolder):
            raise self._missing(subfolder, OSError("there are no such .safetensors weights"))

    def _variants(self, subfolder: str) -> set[str]:
        """Variants of a part's weights on this machine; the plain ones are ''."""
        config = self._file(f"{subfolder}/config.json".lstrip("/")) or self._file("config.json")
        names = [file.name for file in config.parent.glob("*.safetensors")] if config else []
        return {found[1] or "" for name in names if (found := _WEIGHTS.fullmatch(name))}

    def tokenizer(self, kind: _Loadable, subfolder: str) -> Any:
        """Loads a tokenizer.

        Raises:
            UserError: It is missing or damaged, here and on the hub.
        """
        self.tokenizer_config(subfolder)
        try:
            return kind.from_pretrained(self.path, subfolder=subfolder)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise self._missing(subfolder, error) from None

    def tokenizer_config(self, subfolder: str) -> dict[str, Any]:
        """Config of a tokenizer; empty where it has none.

        Raises:
            UserError: The tokenizer is missing in a local folder.
        """
        if Path(self.path).exists() and not (Path(self.path) / subfolder).is_dir():
            raise self._missing(subfolder, OSError("the folder is missing"))
        return self.find(f"{subfolder}/tokenizer_config.json") or {}

    def scheduler(self) -> dict[str, Any]:
        """Config of the scheduler.

        Raises:
            UserError: It is missing or damaged.
        """
        return self._json("scheduler/scheduler_config.json", "scheduler_config.json")

    def schedule(self) -> NoiseSchedule:
        """The forward process of the model's own scheduler config."""
        return NoiseSchedule(self.scheduler())

    def model_index(self) -> dict[str, Any]:
        """Content of ``model_index.json``: which parts there are, and what they do not say themselves.

        Raises:
            UserError: It is missing or damaged.
        """
        return self._json("model_index.json")

    def network_part(self) -> str:
        """Folder of the network: ``unet``, ``transformer``, or none of its own ('') in small models of the hub."""
        return next((name for name in ("unet", "transformer") if self._file(f"{name}/config.json")), "")

    def config(self, subfolder: str) -> dict[str, Any]:
        """Config of a part.

        Raises:
            UserError: It is missing or damaged.
        """
        return self._json(f"{subfolder}/config.json".lstrip("/"), "config.json")

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
        if (found := self.find(*names)) is None:
            raise self._missing(names[0], OSError("no such file"))
        return found

    def find(self, *names: str) -> dict[str, Any] | None:
        """Content of the first of some JSON files that is there; None if none of them is.

        Raises:
            UserError: It is damaged.
        """
        file = next((file for file in map(self._file, names) if file is not None), None)
        try:
            return None if file is None else dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"backbone {self.title}: {file} is damaged ({one_line(error)})") from None

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

        if (variants := self._variants(part)) and self.variant not in variants:
            other = min(variants)
            return UserError(
                f"backbone {self.title}: cannot load {Path(self.path) / part}: its .safetensors weights are "
                f"{f'of the variant {other}' if other else 'no variant'}; set backbone.variant={other or repr('')}"
            )
        if Path(self.path).exists():
            place = Path(self.path).absolute() / part
            return UserError(f"backbone {self.title}: cannot load {place}: {sentence(error)}")
        return UserError(
            f"backbone {self.title}: '{self.path}' ({part}) is neither a local folder, nor in the cache "
            f"({constants.HF_HUB_CACHE}), nor to be had from the hub; fetch it with `hf download {self.path}` on a "
            "connected machine, or give a folder with backbone.path=<folder>"
        )
