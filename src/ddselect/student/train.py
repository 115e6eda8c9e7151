"""The ``student`` group, and training one student from scratch."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from ddselect.evaluation.accuracy import Accuracy
from ddselect.protocol.recipe import Protocol
from ddselect.relabel.live import LiveTeacher
from ddselect.runtime.checkpoints import AtomicCheckpointIO
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_tensors, write_text
from ddselect.runtime.hardware import computes_in_bf16
from ddselect.runtime.progress import Counter, counting
from ddselect.runtime.seeds import key64
from ddselect.student.models import Classifier, build_network
from ddselect.student.module import StudentModule, TrainingSet

VERSION = 2
MakeTrainer = Callable[..., pl.Trainer]


@dataclass
class Student:
    """An architecture to train; see ``conf/student/``.

    Attributes:
        name: Name in results and reports.
        architecture: ``small_resnet16``, ``small_resnet32`` or any timm model.
        learning_rate: The rate that soft-label protocols use for it.
        precision: ``fp32``, ``bf16`` (autocast) or ``auto``: bf16 where the machine computes in it.
    """

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

    def build(self, classes: int, mean: Sequence[float], std: Sequence[float], seed: int) -> Classifier:
        """The untrained student; its weights depend on the seed alone."""
        with torch.random.fork_rng():
            torch.manual_seed(key64(seed, "student"))
            return Classifier(build_network(self.architecture, classes), mean, std)


class _StepCounter(Callback):
    """Reports finished steps."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.counter.resume(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.counter.advance()


def train_student(
    model: Classifier,
    data: TrainingSet,
    protocol: Protocol,
    student: Student,
    seed: int,
    teacher: LiveTeacher | None,
    test: Callable[[Classifier], Accuracy],
    make_trainer: MakeTrainer,
    folder: Path,
    name: str,
) -> dict[str, object]:
    """Trains and tests a student, going on from ``<folder>/last.ckpt`` if there is one.

    Writes ``student.safetensors`` and ``metrics.jsonl`` (one line per test: step, mean loss since the last test, top-1,
    top-5 in percent, number of test images).

    Args:
        model: The untrained student.
        data: The distilled set.
        protocol: How to train.
        student: Its settings.
        seed: Seed of order and augmentation.
        teacher: Labels every batch; None for class labels.
        test: Measures the accuracy on the test images.
        make_trainer: Makes a single-device trainer from keyword arguments of ``pl.Trainer``.
        folder: The stage's folder.
        name: Name for the progress display.

    Returns:
        Last and best accuracy, number of steps and test images.
    """
    rate = protocol.learning_rate or student.learning_rate
    module = StudentModule(model, data, protocol, rate, seed, teacher, test)
    last = folder / "last.ckpt"
    checkpoint = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    with counting(f"student on {name}", module.total, "steps") as counter:
        trainer = make_trainer(
            callbacks=[_StepCounter(counter), checkpoint],
            plugins=[AtomicCheckpointIO()],
            max_epochs=len(module.marks),
            reload_dataloaders_every_n_epochs=1,
            precision="bf16-mixed" if student.precision == "bf16" else "32-true",
        )
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    write_tensors(folder / "student.safetensors", model.state_dict())
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in module.history))
    last.unlink(missing_ok=True)
    best = max(module.history, key=lambda row: row["top1"])
    final = module.history[-1]
    return {
        "top1_last": final["top1"],
        "top1_best": best["top1"],
        "top5_last": final["top5"],
        "top5_best": best["top5"],
        "test_images": int(final["images"]),
        "steps": module.total,
        "batch_size": module.batch_size,
        "training_images": len(data.labels),
    }
