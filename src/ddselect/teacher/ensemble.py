"""Several teachers of the group as one."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ddselect.runtime.errors import UserError
from ddselect.teacher.card import CARD, join_teachers
from ddselect.teacher.choice import Bench, StoredTeacherConfig, TeacherConfig, TrainedTeacherConfig


@dataclass
class EnsembleConfig(TeacherConfig):
    """The choice of an ensemble: its members by name."""

    members: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.members) < 2 or len(set(self.members)) < len(self.members):
            raise UserError(f"teacher.members={list(self.members)}: two or more different teachers are needed")

    def of(self, teachers: Sequence[TeacherConfig]) -> "Ensemble":
        """The ensemble of the teachers that the names stand for; they are checked as it is."""
        if any(isinstance(teacher, EnsembleConfig) for teacher in teachers):
            raise UserError(f"teacher.members={list(self.members)}: no member may be an ensemble itself")
        return Ensemble(self.name, [replace(t, check=self.check) for t in teachers], check=self.check)


@dataclass
class Ensemble(TeacherConfig):
    """Several teachers, of whose logits the mean is taken; see :class:`ddselect.teacher.card.JointTeacher`."""

    teachers: list[TeacherConfig] = field(default_factory=list)  # the members

    def check_network(self, sides: Sequence[int]) -> None:
        for teacher in self.teachers:
            teacher.check_network(sides)

    def signature(self) -> str:
        return " ".join(teacher.signature() for teacher in self.teachers)

    def provide(self, bench: Bench, folder: Path) -> dict[str, object]:
        places = [folder / "members" / str(number) for number in range(len(self.teachers))]
        told = []
        for teacher, place in zip(self.teachers, places, strict=True):
            place.mkdir(parents=True, exist_ok=True)
            told.append({"name": teacher.name, **teacher.provide(bench, place)})
        join_teachers(folder, places)
        shutil.rmtree(folder / "members")
        return {"members": told}


def member(name: str, known: Sequence[str], option: Callable[[str], TeacherConfig]) -> TeacherConfig:
    """The teacher that a name stands for: an option, one that is trained with another network, or a folder.

    Args:
        name: ``<option>``, ``<option>:<architecture>``, or the folder.
        known: Names of all options.
        option: Gives the one of a name.

    Raises:
        UserError: There is none, or it trains no network.
    """
    kind, _, architecture = name.partition(":")
    if kind not in known and (Path(name) / CARD).is_file():
        return StoredTeacherConfig(Path(name).name, name)
    teacher = option(kind)
    if not architecture:
        return teacher
    if not isinstance(teacher, TrainedTeacherConfig):
        raise UserError(f"teacher.members={name}: {kind} trains no network; use trained or trained_images")
    student = replace(teacher.student, architecture=architecture)
    return replace(teacher, name=f"{teacher.name} {architecture}", student=student)
