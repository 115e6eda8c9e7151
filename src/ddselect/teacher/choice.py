"""The ``teacher`` group: the network that labels, and that selections may ask; loaded or trained, then checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ddselect.dataset.index import Index, index_of
from ddselect.protocol.recipe import TEACHER, ProtocolConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import folder_signature, read_json, write_json, write_tensors
from ddselect.runtime.integrity import content
from ddselect.runtime.store import execution
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.models import check_network
from ddselect.student.settings import StudentConfig
from ddselect.teacher.card import CARD, WEIGHTS, Card, classifier_of, write_teacher

VERSION = 3
HALF = [0.5, 0.5, 0.5]
_PACKAGED = ("embedded", "cifar10")  # folders in this package


@dataclass(frozen=True)
class Bench:
    """What a teacher is trained with.

    Attributes:
        view: Side in pixels of the square view.
    """

    index: Index
    view: int
    make_trainer: Callable[..., Any]


@dataclass
class TeacherConfig:
    """A teacher; see ``conf/teacher/``."""

    name: str
    check: bool = field(default=True, kw_only=True, metadata={"execution": True})  # the check is a stage of its own

    def provide(self, bench: Bench, folder: Path) -> dict[str, object]:
        """Writes ``teacher.safetensors`` and ``teacher.json`` to a folder, and tells what else there is to say.

        Raises:
            UserError: It cannot be had, or does not fit the dataset's classes.
        """
        raise UserError(f"teacher {self.name}: class {type(self).__name__} provides no teacher")

    def check_network(self, sides: Sequence[int]) -> None:
        """Refuses, before any work, a network that there is not or that cannot take images of some sides in pixels.

        The first of them is that of the square view, the others are of crops.

        Raises:
            UserError: So it is, or a file is missing or damaged.
        """

    def signature(self) -> str:
        """Changes when weights in local files do, wherever these lie."""
        return ""


@dataclass
class StoredTeacherConfig(TeacherConfig):
    """A teacher from a folder with ``teacher.safetensors`` and ``teacher.json``, as the teacher stage writes them."""

    path: str = execution("embedded")

    @property
    def source(self) -> Path:
        """Where the teacher lies."""
        return Path(str(files("ddselect.teacher") / self.path)) if self.path in _PACKAGED else Path(self.path)

    def signature(self) -> str:
        return folder_signature(self.source) or self.path

    def _card(self) -> dict[str, Any]:
        for name in (WEIGHTS, CARD):
            if not (self.source / name).exists():
                raise UserError(f"teacher {self.name}: {self.source / name} is missing; set teacher.path=<folder>")
        try:
            card = read_json(self.source / CARD)
        except ValueError:
            card = {}
        if not isinstance(card.get("classes"), list):
            raise UserError(f"teacher {self.name}: {self.source / CARD} is damaged; set teacher.path=<folder>")
        return card

    def check_network(self, sides: Sequence[int]) -> None:
        for card in (found := self._card()).get("members", [found]):
            check_network(partial(classifier_of, card), sides, f"teacher {self.name}", "choose another teacher")

    def provide(self, bench: Bench, folder: Path) -> dict[str, object]:
        source, card = self.source, self._card()
        if card["classes"] != bench.index.class_names:
            raise UserError(
                f"teacher {self.name} knows the classes {', '.join(card['classes'][:10])}, in this order, not the "
                f"dataset's ({', '.join(bench.index.class_names[:10])}); use teacher=trained"
            )
        write_tensors(folder / WEIGHTS, load_file(source / WEIGHTS))
        write_json(folder / CARD, card)
        return {}


def _recipe() -> ProtocolConfig:
    """How a teacher is trained: the rest of it, which the YAML file does not show, is not for turning."""
    return ProtocolConfig(
        TEACHER, labels="hard", steps=1500, batch_size=64, learning_rate=4e-3, weight_decay=5e-4, decay_vectors=True,
        warmup=20, mixing="none", area=[0.64, 1.5625], shift=0.25, flip=False, evaluations=1,
    )  # fmt: skip


@dataclass
class TrainedTeacherConfig(TeacherConfig):
    """A teacher trained on all training images with their class labels."""

    student: StudentConfig = field(default_factory=lambda: StudentConfig("teacher", "small_resnet32"))
    recipe: ProtocolConfig = field(default_factory=_recipe)
    seed: int = 0

    def check_network(self, sides: Sequence[int]) -> None:
        build, name = partial(self.student.build, 2, HALF, HALF, self.seed, sides[0]), self.student.architecture
        check_network(build, sides, f"teacher.student.architecture={name}", "choose another")

    def provide(self, bench: Bench, folder: Path) -> dict[str, object]:
        from ddselect.student.train import student_views, train_student
        from ddselect.student.validation import TestSet
        from ddselect.student.views import TrainingSet

        model = self.student.build(len(bench.index.class_names), HALF, HALF, self.seed, bench.view)
        images, labels = bench.index.read_all(bench.view, folder), torch.from_numpy(bench.index.labels)
        data = TrainingSet(images, labels, torch.zeros(len(labels), dtype=torch.bool), 1, None)
        views = student_views(data, self.recipe, self.student, self.seed)
        nothing = TestSet(torch.empty(0), labels[:0], data.classes)
        train_student(model, views, self.student.precision, None, nothing, bench.make_trainer, folder, "all data")
        for name in ("student.safetensors", "metrics.jsonl"):
            (folder / name).unlink()
        classes = bench.index.class_names
        card = Card(self.student.architecture, len(classes), HALF, HALF, classes, image_size=bench.view)
        write_teacher(folder, model.network, card)
        return {}


def run(trial: Trial, folder: Path) -> Facts:
    """The teacher stage."""
    e, images = trial.experiment, index_of(trial).split("train")
    teacher: TeacherConfig = e.teacher
    facts = teacher.provide(Bench(images, trial.view, e.trainer.single), folder)
    return {**facts, "digest": content(folder)}
