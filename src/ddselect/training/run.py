"""The student stage."""

from functools import partial
from pathlib import Path

from ddselect.evaluation.test_views import read_test_set
from ddselect.relabel.live import LiveTeacher
from ddselect.relabel.stored import StoredLabels, views_of
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.module import Labeller
from ddselect.student.train import train_student
from ddselect.teacher.card import load_teacher


def train(trial: Trial, folder: Path) -> Facts:
    """Trains and tests the student of a trial."""
    e, stages, views, student = trial.experiment, trial.stages, views_of(trial, folder), trial.student
    labeller: Labeller | None = None
    mean, std = trial.protocol.statistics() or ((), ())
    if "teacher" in stages:
        teacher = load_teacher(stages["teacher"].folder).to(e.trainer.device)
        if not mean:
            mean, std = teacher.mean.flatten().tolist(), teacher.std.flatten().tolist()
        if trial.protocol.labels == "soft":
            labels = stages.get("relabel")
            labeller = StoredLabels(labels.folder, views) if labels else LiveTeacher(teacher, trial.protocol.halves)
    logger = e.logger.curves(trial.run_folder, trial.label("student")) if trial.run_folder else False
    return train_student(
        model=student.build(trial.classes, mean, std, trial.seed, trial.view),
        views=views,
        precision=student.precision,
        labeller=labeller,
        tests=read_test_set(trial),
        make_trainer=partial(e.trainer.student, logger=logger),
        folder=folder,
        name=trial.name,
    )
