"""The teacher on real images, and on a distilled set that is given, before anything expensive is made with them."""

from pathlib import Path

from ddselect.composition.distilled import read_distilled
from ddselect.dataset.index import index_of
from ddselect.evaluation.test_views import read_test_set
from ddselect.runtime.errors import UserError
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.accuracy import Accuracy
from ddselect.student.validation import TestSet, validate
from ddselect.teacher.card import JointTeacher, load_teacher
from ddselect.teacher.ensemble import Ensemble


def check_teacher(trial: Trial, folder: Path) -> Facts:
    """Accuracy and calibration error in percent on the real test images; of an ensemble also those of each member.

    Raises:
        UserError: It is near chance and ``teacher.check`` is set: most often its class order is not that of the
            class folders.
    """
    e, teacher = trial.experiment, load_teacher(trial.stages["teacher"].folder)
    tests, members = read_test_set(trial), list[Facts]()
    if isinstance(teacher, JointTeacher) and isinstance(e.teacher, Ensemble):  # one in a folder has no names for them
        for one, model in zip(e.teacher.teachers, teacher.members, strict=True):
            members.append({"name": one.name, **_checked(one.name, validate(model, tests, e.trainer.single), trial)})
    own = _checked(e.teacher.name, validate(teacher, tests, e.trainer.single), trial)
    return {**own, **({"members": members} if members else {})}


def _checked(name: str, accuracy: Accuracy, trial: Trial) -> dict[str, object]:
    if trial.experiment.teacher.check and _is_near_chance(accuracy.top1, trial.classes):
        raise UserError(
            f"teacher {name} has {accuracy.top1:.1f} % top-1 on the real test images, near chance "
            f"({100 / trial.classes:.1f} %): check that its class order is that of the class folders, or set "
            "teacher.check=false"
        )
    names = ("top1", "top5", "calibration_error")
    return {**{name: getattr(accuracy, name) for name in names}, "test_images": accuracy.images}


def _is_near_chance(top1: float, classes: int) -> bool:
    """Whether an accuracy in percent is within a tenth of the way from chance to all."""
    chance = 1 / classes
    return top1 < 100 * (chance + 0.1 * (1 - chance))


def check_given(trial: Trial, folder: Path) -> Facts:
    """Accuracy in percent of the teacher on a given set, under the set's own labels; near chance is told."""
    e, given = trial.experiment, read_distilled(trial.stages["composition"].folder)
    teacher = load_teacher(trial.stages["teacher"].folder)
    found = validate(teacher, TestSet(given.images, given.labels, trial.classes), e.trainer.single)
    told = list[str]()
    if _is_near_chance(found.top1, trial.classes):
        names = index_of(trial).class_names
        wrong = found.confusion[found.confusion[:, 0] != found.confusion[:, 1]]
        label, other, count = wrong[wrong[:, 2].argmax()].tolist()
        told.append(
            f"{trial.method.selection.name}: its class order is probably wrong; teacher {e.teacher.name} agrees with "
            f"{found.top1:.1f} % of its labels, near chance ({100 / trial.classes:.1f} %), and takes {count} of "
            f"{int((given.labels == label).sum())} images of '{names[label]}' for '{names[other]}'"
        )
    return {"top1": round(found.top1, 2), "images": found.images, "told": told}
