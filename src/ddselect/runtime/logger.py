"""The ``logger`` group: where training curves go."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddselect.runtime.errors import UserError
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import execution

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class StudentLoggers:
    """Loggers of one run, one for each student."""

    def __init__(self, folder: Path, run: Any | None) -> None:
        self._folder, self._run = folder, run

    def named(self, name: str) -> "Logger":
        """The logger of a student; its name is a folder (csv) or the prefix of its metrics (W&B)."""
        from pytorch_lightning.loggers import CSVLogger, WandbLogger

        if self._run is None:
            return CSVLogger(self._folder / "logs", name, version="")
        return WandbLogger(experiment=self._run, prefix=name, save_dir=str(self._folder))


@dataclass
class LoggerSettings:
    """Loggers; see ``conf/logger/``.

    Attributes:
        kind: ``csv`` or ``wandb``.
        project: W&B project.
        mode: W&B mode: ``online``, ``offline`` or ``disabled``.
    """

    kind: str = execution("csv")
    project: str = execution("ddselect")
    mode: str = execution("online")

    def __post_init__(self) -> None:
        if self.kind not in ("csv", "wandb"):
            raise UserError(f"logger.kind={self.kind}: choose csv or wandb")
        if self.mode not in ("online", "offline", "disabled"):
            raise UserError(f"logger.mode={self.mode}: choose online, offline or disabled")

    @contextmanager
    def open(self, folder: Path, config: dict[str, Any]) -> Iterator[StudentLoggers]:
        """Loggers for one run; a W&B run belongs to the first rank and is finished whatever happens.

        Raises:
            UserError: W&B cannot start.
        """
        if self.kind == "csv" or rank() > 0:
            yield StudentLoggers(folder, None)
            return
        import wandb

        try:
            run = wandb.init(project=self.project, mode=self.mode, dir=folder, config=config)  # type: ignore[arg-type]
        except wandb.Error as error:
            raise UserError(f"logger=wandb: {error}; log in with `wandb login` or set logger.mode=offline") from None
        try:
            yield StudentLoggers(folder, run)
        finally:
            run.finish()
