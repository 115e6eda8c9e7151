"""Training one student from scratch."""

import json
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.checkpoints import AtomicCheckpointIO
from ddselect.runtime.files import write_tensors, write_text
from ddselect.runtime.parallel import working_together
from ddselect.runtime.progress import Counter, counting
from ddselect.runtime.ranks import rank
from ddselect.student.accuracy import Accuracy
from ddselect.student.confusion import write_confusion
from ddselect.student.models import Classifier
from ddselect.student.module import Labeller, StudentModule
from ddselect.student.ranks import share_batch_norm
from ddselect.student.settings import StudentConfig
from ddselect.student.views import TrainingSet, Views

MakeTrainer = Callable[..., pl.Trainer]


class _StepCounter(Callback):
    """Reports finished steps."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.counter.resume(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.counter.advance()


def student_views(data: TrainingSet, protocol: ProtocolConfig, student: StudentConfig, seed: int) -> Views:
    """What a student sees under a protocol, which is resolved for it and the set here."""
    resolved = protocol.resolve(student.architecture, student.learning_rate, data.ipc, data.classes)
    return Views(data, resolved, seed)


def train_student(
    model: Classifier,
    views: Views,
    precision: str,
    labeller: Labeller | None,
    test: Callable[[Classifier], Accuracy] | None,
    make_trainer: MakeTrainer,
    folder: Path,
    name: str,
) -> dict[str, object]:
    """Trains and tests a student, going on from ``<folder>/last.ckpt`` if there is one.

    Writes ``student.safetensors``, ``metrics.jsonl`` (one line per test: step, mean loss since the last test, top-1,
    top-5 in percent, number of test images) and the last test's ``confusion.parquet``.

    Args:
        model: The untrained student.
        views: What it sees, and the protocol; see :func:`student_views`.
        precision: ``fp32`` or ``bf16`` (autocast).
        labeller: Labels every batch; None for class labels.
        test: Measures the accuracy on the test images; None for a training that is not tested.
        make_trainer: Makes a trainer from keyword arguments of ``pl.Trainer``; of several ranks the first writes.
        folder: The stage's folder.
        name: Name for the progress display.

    Returns:
        Last and best accuracy, number of steps and test images.
    """
    module = StudentModule(model, views, labeller, test)
    last = folder / "last.ckpt"
    checkpoint = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    with counting(f"student on {name}", views.total, "steps") as counter:
        trainer = make_trainer(
            callbacks=[_StepCounter(counter), checkpoint],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=True,
            max_epochs=len(module.ends_after(0)),
            reload_dataloaders_every_n_epochs=1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        if trainer.world_size > 1:
            share_batch_norm(model)
        with working_together(trainer):
            trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
            if trainer.interrupted:
                raise KeyboardInterrupt
            if rank() == 0:
                write_tensors(folder / "student.safetensors", model.state_dict())
                write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in module.history))
                if test:
                    write_confusion(folder, module.confusion)
                last.unlink(missing_ok=True)
    accuracy: dict[str, object] = {}
    if test:
        best, final = max(module.history, key=lambda row: row["top1"]), module.history[-1]
        accuracy = {f"{name}_last": final[name] for name in ("top1", "top5")}
        accuracy |= {**{f"{name}_best": best[name] for name in ("top1", "top5")}, "test_images": int(final["images"])}
    return {
        **accuracy,
        "steps": views.total,
        "batch_size": views.batch_size,
        "training_images": len(views.data.labels),
    }
