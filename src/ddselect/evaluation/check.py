"""The teacher on real images, and on a distilled set that is given, before anything expensive is made with them."""

from pathlib import Path

import torch

from ddselect.composition.distilled import read_distilled
from ddselect.dataset.index import index_of
from ddselect.runtime.errors import UserError
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.accuracy import Accuracy, tester
from ddselect.teacher.card import JointTeacher, load_teacher
from ddselect.teacher.ensemble import Ensemble

VERSION = 1
_BATCH = 64  # images


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
    if trial.experiment.teacher.check and _is_near_chance(accuracy.top1, trial.classes):
        raise UserError(
            f"teacher {name} has {accuracy.top1:.1f} % top-1 on the real test images, near chance "
            f"({100 / trial.classes:.1f} %): check that its class order is that of the class folders, or set "
            "teacher.check=false"
        )
    return {"top1": accuracy.top1, "top5": accuracy.top5, "test_images": accuracy.images}


def _is_near_chance(top1: float, classes: int) -> bool:
    """Whether an accuracy in percent is within a tenth of the way from chance to all."""
    chance = 1 / classes
    return top1 < 100 * (chance + 0.1 * (1 - chance))


@torch.inference_mode()
def check_given(trial: Trial, folder: Path) -> Facts:
    """Accuracy in percent of the teacher on a given set, under the set's own labels; near chance is told."""
    e, given = trial.experiment, read_distilled(trial.stages["composition"].folder)
    teacher = load_teacher(trial.stages["teacher"].folder).to(e.trainer.device)
    batches = (given.images[rows] for rows in torch.split(torch.arange(len(given)), _BATCH))
    taken = torch.cat([teacher(images.to(e.trainer.device).float() / 255).argmax(1).cpu() for images in batches])
    top1, told = 100 * float((taken == given.labels).float().mean()), list[str]()
    if _is_near_chance(top1, trial.classes):
        wrong, names = taken != given.labels, index_of(trial).class_names
        pairs, counts = torch.unique(torch.stack([given.labels, taken])[:, wrong], dim=1, return_counts=True)
        label, other = pairs[:, counts.argmax()].tolist()
        told.append(
            f"{trial.method.selection.name}: its class order is probably wrong; teacher {e.teacher.name} agrees with "
            f"{top1:.1f} % of its labels, near chance ({100 / trial.classes:.1f} %), and takes {int(counts.max())} of "
            f"{int((given.labels == label).sum())} images of '{names[label]}' for '{names[other]}'"
        )
    return {"top1": round(top1, 2), "images": len(taken), "told": told}
