"""The teacher on real images, before anything expensive is made with it."""

from pathlib import Path

from ddselect.runtime.errors import UserError
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.accuracy import Accuracy, tester
from ddselect.teacher.card import JointTeacher, load_teacher
from ddselect.teacher.ensemble import Ensemble

VERSION = 1


def check_teacher(trial: Trial, folder: Path) -> Facts:
    """Accuracy in percent on the real test images; of an ensemble also that of each member.

    Raises:
        UserError: It is near chance and ``teacher.check`` is set: most often its class order is not that of the
            class folders.
    """
    e, teacher = trial.experiment, load_teacher(trial.stages["teacher"].folder)
    test, members = tester(trial, e.protocols[0], together=False), list[Facts]()
    if isinstance(teacher, JointTeacher) and isinstance(e.teacher, Ensemble):  # one in a folder has no names for them
        for one, model in zip(e.teacher.teachers, teacher.members, strict=True):
            members.append({"name": one.name, **_checked(one.name, test(model), trial)})
    own = _checked(e.teacher.name, test(teacher), trial)
    return {**own, **({"members": members} if members else {})}


def _checked(name: str, accuracy: Accuracy, trial: Trial) -> dict[str, object]:
    chance = 1 / trial.classes
    if trial.experiment.teacher.check and accuracy.top1 < 100 * (chance + 0.1 * (1 - chance)):
        raise UserError(
            f"teacher {name} has {accuracy.top1:.1f} % top-1 on the real test images, near chance "
            f"({100 * chance:.1f} %): check that its class order is that of the class folders, or set "
            "teacher.check=false"
        )
    return {"top1": accuracy.top1, "top5": accuracy.top5, "test_images": accuracy.images}
