"""The ``logger`` group: where training curves go, and what a run shows on Weights & Biases."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution

if TYPE_CHECKING:
    from pytorch_lightning.loggers import CSVLogger

_KINDS = ("csv", "wandb")
_MODES = ("auto", "online", "offline", "disabled")
_ARTIFACTS = ("composition", "relabel", "student")


@dataclass
class LoggerConfig:
    """Loggers; see ``conf/logger/``."""

    kinds: list[str] = execution(["csv"])
    project: str = execution("ddselect")
    entity: str = execution("")
    mode: str = execution("auto")
    artifacts: list[str] = execution([*_ARTIFACTS])

    def __post_init__(self) -> None:
        for name, known in (("kinds", _KINDS), ("artifacts", _ARTIFACTS)):
            if unknown := set(getattr(self, name)) - set(known):
                raise UserError(f"logger.{name}: no {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
        if self.mode not in _MODES:
            raise UserError(f"logger.mode={self.mode}: choose {', '.join(_MODES)}")

    def curves(self, folder: Path, student: str) -> "CSVLogger | Literal[False]":
        """Lightning's logger of a student's curves, ``<folder>/logs/<student>/metrics.csv``, if these are wanted."""
        if "csv" not in self.kinds:
            return False
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(folder / "logs", student, version="")
