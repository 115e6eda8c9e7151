"""The ``trainer`` group: which devices work, and Lightning trainers for them."""

import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ddselect.runtime.errors import UserError, one_line
from ddselect.runtime.hardware import available_processors, processors, threads
from ddselect.runtime.processes import check_loopback
from ddselect.runtime.ranks import find_place
from ddselect.runtime.store import execution

if TYPE_CHECKING:  # Lightning is imported when a trainer is made
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback

_SHARED = 4  # most ranks for each processor: trying out more than one works on any machine
_THREADS = torch.get_num_threads()  # torch's own choice, before anything here changes it


@dataclass
class TrainerConfig:
    """Devices; see ``conf/trainer/``."""

    accelerator: str = execution("cpu")
    devices: int = execution(1)
    nodes: int = execution(1)
    strategy: str = execution("auto")
    threads: int = execution(0)
    student_devices: int = execution(1)
    students: int = execution(0)
    student_threads: int = execution(0)

    def __post_init__(self) -> None:
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise UserError(f"trainer.accelerator={self.accelerator}: choose auto, cpu or gpu")
        for name, least in (("devices", 1), ("nodes", 1), ("threads", 0), ("students", 0), ("student_threads", 0)):
            if getattr(self, name) < least:
                raise UserError(f"trainer.{name}={getattr(self, name)}: at least {least} is needed")
        if any(word in self.strategy for word in ("spawn", "fork", "notebook")):
            raise UserError(f"trainer.strategy={self.strategy}: ranks run this command once more each; choose ddp")
        self._check_student_devices()
        if self.accelerator == "auto":
            self.accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        self.student_threads = self.student_threads or (8 if self.accelerator == "gpu" else 1)

    def _check_student_devices(self) -> None:
        place = f"trainer.student_devices={self.student_devices}"
        if self.student_devices not in (1, self.devices):
            both = f"1 or {self.devices}" if self.devices > 1 else "1"
            raise UserError(f"{place}: choose {both}, one device or all of trainer.devices={self.devices}")
        if self.together and self.strategy not in ("auto", "ddp"):
            raise UserError(f"{place}: students need trainer.strategy=ddp, not {self.strategy}")
        if self.together and self.students > 1:
            raise UserError(f"{place}: one student trains at a time then, not trainer.students={self.students}")

    @property
    def together(self) -> bool:
        """Whether all devices train each student together."""
        return self.student_devices > 1

    @property
    def ranks(self) -> int:
        """Processes that work together, on all machines."""
        return self.devices * self.nodes

    def prepare(self, dry: bool = False) -> None:
        """Checks the machine and what the environment says, before any work; from here on a rank knows that it is one.

        A ``dry`` run asks for no other ranks.

        Raises:
            UserError: There are fewer devices, or the environment will not do.
        """
        threads()
        there, most, what = torch.cuda.device_count(), 1, "GPUs"
        if self.accelerator == "cpu":
            there, most, what = available_processors(), _SHARED, "processors"
        if there and self.devices > most * there:  # that there is none is told with the first work that needs one
            raise UserError(f"trainer.devices={self.devices}: this machine has {there} {what}")
        if dry:
            return
        find_place(self.devices, self.nodes)
        if self.ranks > 1 and "MASTER_ADDR" not in os.environ:
            check_loopback()

    def check_devices(self) -> None:
        """Refuses a GPU that is not there.

        Raises:
            UserError: A GPU is wanted and there is none.
        """
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise UserError(f"trainer.accelerator=gpu: torch {torch.__version__} sees no GPU here; use trainer=cpu")

    def students_at_once(self, wanted: int) -> int:
        """How many of ``wanted`` students are trained at the same time.

        Where they do not divide among the processors, one more than those: it fills what would be idle at the end.
        """
        room = 1 if self.together or self.accelerator == "gpu" else max(1, processors() // self.student_threads)
        uneven = room > 1 and wanted % room > 0
        return min(wanted, self.students or room + uneven)

    @property
    def device(self) -> torch.device:
        """The device of work outside a trainer.

        Raises:
            UserError: A GPU is wanted and there is none.
        """
        self.check_devices()
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")

    def parallel(self, callbacks: "list[Callback]", **options: Any) -> "pl.Trainer":
        """A trainer over all devices, with further options of ``pl.Trainer``."""
        from ddselect.runtime.parallel import keep_listening

        torch.set_num_threads(self.threads or _THREADS)
        if self.threads:  # Lightning would choose a number of its own when it starts the ranks
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
        return self._make(
            devices=self.devices, num_nodes=self.nodes, strategy=self.strategy, use_distributed_sampler=False,
            callbacks=[*callbacks, keep_listening()], **{"logger": False, "enable_checkpointing": False, **options},
        )  # fmt: skip

    def single(self, callbacks: "list[Callback] | None" = None, **options: Any) -> "pl.Trainer":
        """A trainer on one device for a student or a teacher, with further options of ``pl.Trainer``."""
        torch.set_num_threads(self.student_threads)
        return self._make(devices=1, callbacks=callbacks, **{"logger": False, **options})

    def student(self, callbacks: "list[Callback]", **options: Any) -> "pl.Trainer":
        """A trainer for a student, or for its labels: on one device, or over all where these train it together."""
        if not self.together:
            return self.single(callbacks=callbacks, **options)
        trainer = self.parallel(callbacks, **options)
        torch.set_num_threads(self.student_threads)
        return trainer

    def _make(self, **options: Any) -> "pl.Trainer":
        import pytorch_lightning as pl
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        quiet_lightning()
        try:
            return pl.Trainer(
                accelerator=self.accelerator,
                enable_progress_bar=False,
                enable_model_summary=False,
                log_every_n_steps=1,
                **options,
            )
        except (ValueError, MisconfigurationException) as error:
            raise UserError(f"trainer: {one_line(error)}") from None


def quiet_lightning() -> None:
    """Silences what Lightning says about choices that are deliberate here."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # images to train and test on lie there decoded
        ".*(Checkpoint|logs) directory .* exists and is not empty.*",  # that is how a run goes on
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",  # Lightning's own call
        ".*custom batch sampler.*",  # whole shards, nothing dropped
        ".*module.* in eval mode at the start of training.*",  # a prior has neither dropout nor batch statistics
    ):
        warnings.filterwarnings("ignore", message)
