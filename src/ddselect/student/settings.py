"""The ``student`` group."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import computes_in_bf16
from ddselect.runtime.seeds import key64
from ddselect.student.models import Classifier, build_network, check_network
from ddselect.student.ranks import has_batch_norm

VERSION = 7  # of what the stage writes
_HALF = [0.5] * 3


@dataclass
class StudentConfig:
    """An architecture to train; see ``conf/student/``."""

    name: str
    architecture: str
    learning_rate: float = 1e-3
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.precision == "auto":
            self.precision = "bf16" if computes_in_bf16() else "fp32"
        if self.precision not in ("fp32", "bf16"):
            raise UserError(f"student.precision={self.precision}: choose auto, bf16 or fp32")
        if self.learning_rate <= 0:
            raise UserError(f"student.learning_rate={self.learning_rate}: a positive number is needed")

    def check(self, image_size: int) -> None:
        """Refuses an architecture that there is not, or that cannot take images of a side in pixels.

        Raises:
            UserError: So it is.
        """
        check_network(
            lambda: self.build(2, _HALF, _HALF, 0, image_size),
            [image_size],
            f"architecture '{self.architecture}'",
            "set dataset.image_size or choose another student",
        )

    def check_ranks(self, image_size: int, accelerator: str) -> None:
        """Refuses an architecture that several ranks cannot train as one does.

        Raises:
            UserError: It has batch norm, whose statistics are shared on GPUs only.
        """
        if accelerator == "cpu" and has_batch_norm(self.build(2, _HALF, _HALF, 0, image_size)):
            raise UserError(
                f"student {self.name}: batch norm is shared between GPUs only; on processors set "
                "trainer.student_devices=1 or choose a student without it, e.g. student=convnet3"
            )

    def build(
        self, classes: int, mean: Sequence[float], std: Sequence[float], seed: int, image_size: int
    ) -> Classifier:
        """The untrained student for images of a side in pixels; its weights depend on the seed alone."""
        with torch.random.fork_rng():
            torch.manual_seed(key64(seed, "student"))
            return Classifier(build_network(self.architecture, classes, image_size), mean, std)
