"""The ``trainer`` group: which devices work, and Lightning trainers for them."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution


@dataclass
class TrainerSettings:
    """Devices; see ``conf/trainer/``.

    Attributes:
        accelerator: ``cpu`` or ``gpu``.
        devices: Processes per node that score together.
        nodes: Machines.
        strategy: ``auto``, ``ddp``, or any strategy name of Lightning.
        threads: Threads per process; 0 leaves torch's default.
    """

    accelerator: str = execution("cpu")
    devices: int = execution(1)
    nodes: int = execution(1)
    strategy: str = execution("auto")
    threads: int = execution(0)

    def __post_init__(self) -> None:
        if self.accelerator not in ("cpu", "gpu"):
            raise UserError(f"trainer.accelerator={self.accelerator}: choose cpu or gpu")
        if self.devices < 1 or self.nodes < 1 or self.threads < 0:
            raise UserError("trainer: devices and nodes must be at least 1, threads 0 or more")

    @property
    def device(self) -> torch.device:
        """The device of work outside a trainer.

        Raises:
            UserError: A GPU is wanted and there is none.
        """
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise UserError(f"trainer.accelerator=gpu: torch {torch.__version__} sees no GPU here; use trainer=cpu")
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")

    def parallel(self, callbacks: list[Callback]) -> pl.Trainer:
        """A trainer over all devices."""
        return self._make(
            devices=self.devices, num_nodes=self.nodes, strategy=self.strategy, callbacks=callbacks, logger=False,
            enable_checkpointing=False, use_distributed_sampler=False,
        )  # fmt: skip

    def single(self, **options: Any) -> pl.Trainer:
        """A trainer on one device, with further options of ``pl.Trainer``."""
        return self._make(devices=1, **{"logger": False, **options})

    def _make(self, **options: Any) -> pl.Trainer:
        quiet_lightning()
        if self.threads:
            torch.set_num_threads(self.threads)
        return pl.Trainer(
            accelerator=self.accelerator, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
            **options,
        )  # fmt: skip


def quiet_lightning() -> None:
    """Silences what Lightning says about choices that are deliberate here."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # small sets are decoded in the process
        ".*(Checkpoint|logs) directory .* exists and is not empty.*",  # that is how a run goes on
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*`IterableDataset` has `__len__` defined.*",
        ".*custom batch sampler.*",  # whole shards, nothing dropped
    ):
        warnings.filterwarnings("ignore", message)
