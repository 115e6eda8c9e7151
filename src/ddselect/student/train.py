"""Training one student from scratch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.checkpoints import LAST, fitting
from ddselect.runtime.files import write_tensors, write_text
from ddselect.runtime.ranks import rank
from ddselect.student.confusion import write_confusion
from ddselect.student.models import Classifier
from ddselect.student.module import Labeller, StudentModule
from ddselect.student.ranks import share_batch_norm
from ddselect.student.settings import StudentConfig
from ddselect.student.validation import TestSet
from ddselect.student.views import TrainingSet, Views

MakeTrainer = Callable[..., pl.Trainer]


def student_views(
    data: TrainingSet, protocol: ProtocolConfig, student: StudentConfig, seed: int, repeats: int = 1
) -> Views:
    """What a student sees under a protocol, which is resolved for it and the set here."""
    resolved = protocol.resolve(student.architecture, student.learning_rate, data.ipc, data.classes)
    return Views(data, resolved, seed, repeats)


def train_student(
    model: Classifier,
    views: Views,
    precision: str,
    labeller: Labeller | None,
    tests: TestSet,
    make_trainer: MakeTrainer,
    folder: Path,
    name: str,
) -> dict[str, object]:
    """Trains and tests a student, going on from ``<folder>/last.ckpt`` if there is one.

    Writes ``student.safetensors``, ``metrics.jsonl`` (one line per test: step, mean loss since the last test, top-1,
    top-5 and calibration error in percent, number of test images) and the last test's ``confusion.parquet``. Precision
    is ``fp32`` or ``bf16`` (autocast); no labeller stands for class labels, no test images for a training that is not
    tested. Of several ranks the first writes. Returned are last and best accuracy, the last calibration error, numbers
    of steps and of test images.
    """
    module = StudentModule(model, views, labeller, tests)

    def prepare(trainer: pl.Trainer) -> None:
        if trainer.world_size > 1:
            share_batch_norm(model)

    options: dict[str, Any] = {"precision": "bf16-mixed" if precision == "bf16" else "32-true"}
    options |= {"max_epochs": len(module.ends_after(0)), "limit_val_batches": 0}  # until an epoch ends in a test
    with fitting(module, f"student on {name}", views.total, make_trainer, prepare, folder, **options):
        if rank() == 0:
            write_tensors(folder / "student.safetensors", module.tested.state_dict())
            write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in module.history))
            if len(tests):
                write_confusion(folder, module.confusion)
            (folder / LAST).unlink(missing_ok=True)
    accuracy: dict[str, object] = {}
    if len(tests):
        best, final = max(module.history, key=lambda row: row["top1"]), module.history[-1]
        accuracy = {f"{name}_last": final[name] for name in ("top1", "top5")}
        accuracy |= {f"{name}_best": best[name] for name in ("top1", "top5")}
        accuracy |= {"calibration_error": final["calibration_error"], "test_images": int(final["images"])}
    return {
        **accuracy,
        "steps": views.total,
        "batch_size": views.batch_size,
        "training_images": len(views.data.labels),
    }
