"""The ``logger`` group: where training curves go, and what a run shows on Weights & Biases."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

    def curves(self, folder: Path) -> "CurveFiles | None":
        """The training curves in a run's folder, if they are wanted there."""
        return CurveFiles(folder / "logs") if "csv" in self.kinds else None


@dataclass(frozen=True)
class CurveFiles:
    """Training curves as ``<folder>/<student>/metrics.csv``."""

    folder: Path

    def of(self, student: str) -> "CSVLogger":
        """Lightning's logger for a student."""
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(self.folder, student, version="")
