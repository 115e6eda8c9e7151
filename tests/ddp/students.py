"""Small students in a few cases, trained by one rank or, as a program, by two, of which the last one fails."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ddselect.dataset.index import read_index
from ddselect.exits import one_line_errors
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.live import LiveTeacher
from ddselect.relabel.stored import StoredLabels, store_labels
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.settings import StudentConfig
from ddselect.student.train import student_views, train_student
from ddselect.student.validation import TestSet
from ddselect.student.views import TrainingSet
from tests.helpers.data import images_to_test
from tests.helpers.models import tiny_teacher

STUDENT = StudentConfig("convnet3", "convnet3", 0.02, "fp32")
CLASSES, SIDE = 3, 8
# Batches of 5, 5 and 1 of 11 images: parts of 3 and 2, and a batch too small to be shared. No Adam: biases before a
# norm have no gradient but rounding, of which it makes any step.
SOFT = ProtocolConfig("p", epochs=4, batch_size=5, optimizer="sgd", temperature=2.0, evaluations=2)


@dataclass(frozen=True)
class Case:
    """A training, what is stored of its labels, and the number of images it is tested on."""

    protocol: ProtocolConfig
    keep: str = "nothing"
    tests: int = 7


CASES = {
    "live": Case(SOFT),
    "logits": Case(replace(SOFT, loss="mse", mixing="mixup"), "logits", tests=1),
    "hard": Case(replace(SOFT, labels="hard", jitter=0.4, epochs=0, steps=10, evaluations=1)),
}
DIVERGES = Case(replace(SOFT, learning_rate=1e30))


def some_tests(folder: Path, count: int) -> TestSet:
    """Some test images of the index in a folder."""
    index = read_index(folder, folder.parent / "images").split("test")
    return images_to_test(index.take(np.arange(count)), SIDE, batch_size=2)


def train(case: Case, trainer: TrainerConfig, folder: Path, index: Path) -> None:
    """Labels and trains into a folder."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (11, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    data = TrainingSet(images, torch.arange(11) % CLASSES, torch.zeros(11, dtype=torch.bool), 1, None)
    views, teacher = student_views(data, case.protocol, STUDENT, 0), tiny_teacher(CLASSES)
    with torch.no_grad():  # an untrained teacher says nearly the same of every image
        teacher.network.get_classifier().weight.mul_(100)  # type: ignore[operator]
    labeller: LiveTeacher | StoredLabels | None = LiveTeacher(teacher) if case.protocol.labels == "soft" else None
    if case.keep != "nothing":
        store_labels(teacher, views, case.keep, trainer.student, folder / "labels", "views")
        labeller = StoredLabels(folder / "labels", views)
    train_student(
        model=STUDENT.build(CLASSES, [0.5] * 3, [0.5] * 3, 0, SIDE),
        views=views,
        precision="fp32",
        labeller=labeller,
        tests=some_tests(index, case.tests),
        make_trainer=trainer.student,
        folder=folder,
        name="views",
    )


if __name__ == "__main__":
    out, index = map(Path, sys.argv[1:])
    together = TrainerConfig("cpu", 2, strategy="ddp", threads=1, student_devices=2)
    with one_line_errors():
        together.prepare()
        for name in CASES:
            train(CASES[name], together, out / name, index)
        train(DIVERGES, together, out / "diverges", index)
