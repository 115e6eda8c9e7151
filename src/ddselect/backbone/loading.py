"""Loading parts of a diffusion model in the diffusers layout, from a local folder or a hub id; safetensors only."""

import json
from pathlib import Path
from typing import Any, Protocol

from diffusers import DDPMScheduler

from ddselect.backbone.schedule import NoiseSchedule
from ddselect.runtime.errors import UserError, one_line


class _Loadable(Protocol):
    @classmethod
    def from_pretrained(cls, path: str, **options: Any) -> Any: ...


class ModelSource:
    """A diffusers model: a folder with ``unet/`` or ``transformer/``, ``scheduler/`` ..., or the id of one on the hub.

    Attributes:
        path: Local folder or hub id.
        title: Name for messages.
    """

    def __init__(self, path: str, title: str) -> None:
        self.path, self.title = path, title

    def part(self, kind: _Loadable, subfolder: str) -> Any:
        """Loads one part with its weights, in evaluation mode and without gradients.

        Raises:
            UserError: It is missing or damaged, here and on the hub.
        """
        try:
            model = kind.from_pretrained(self.path, subfolder=subfolder, use_safetensors=True, low_cpu_mem_usage=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._missing(subfolder, error) from None
        return model.eval().requires_grad_(False)

    def schedule(self) -> NoiseSchedule:
        """The forward process of the model's own scheduler config."""
        try:
            config = DDPMScheduler.load_config(self.path, subfolder="scheduler")
        except (OSError, ValueError) as error:
            raise self._missing("scheduler", error) from None
        return NoiseSchedule(dict(config))

    def model_index(self) -> dict[str, Any]:
        """Content of ``model_index.json``; empty if a local folder has none.

        Raises:
            UserError: It is damaged.
        """
        file = Path(self.path) / "model_index.json"
        try:
            return dict(json.loads(file.read_text())) if file.exists() else {}
        except ValueError as error:
            raise UserError(f"backbone {self.title}: {file} is damaged ({one_line(error)})") from None

    def _missing(self, subfolder: str, error: Exception) -> UserError:
        if Path(self.path).exists():
            place = f"folder {Path(self.path).absolute() / subfolder}"
            return UserError(f"backbone {self.title}: cannot load {place}: {one_line(error)[:200]}")
        return UserError(
            f"backbone {self.title}: '{self.path}' ({subfolder}) is neither a local folder nor to be had from the hub; "
            f"fetch it with `huggingface-cli download {self.path}`, or give a folder with backbone.path=<folder>"
        )
