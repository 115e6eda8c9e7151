"""The stages of selection."""

from pathlib import Path

from ddselect.dataset.index import images_of
from ddselect.embed.table import embed_shards
from ddselect.runtime.trial import Facts, Trial
from ddselect.selection.base import SelectionInputs
from ddselect.selection.table import write_selection
from ddselect.selection.teacher_crops import judge_crops
from ddselect.teacher.card import load_teacher


def judge(trial: Trial, folder: Path) -> Facts:
    """Random crops of every image, judged by the teacher."""
    e, images = trial.experiment, images_of(trial)
    teacher = load_teacher(trial.stages["teacher"].folder).to(e.trainer.device)
    return judge_crops(images, teacher, trial.method.selection, trial.view, trial.seed, e.trainer.single, folder)


def select(trial: Trial, folder: Path) -> Facts:
    """The order of every class's crops and whole images."""
    stages = trial.stages
    scores = next((stages[name].folder for name in ("boxes", "teacher_crops") if name in stages), None)
    embedding = None
    if "embed" in stages:
        embedding = embed_shards(stages["embed"].folder, stages["embed"].facts["images"])
    method, images = trial.method.selection, images_of(trial)
    further = {name: stages[name].folder for name in method.reads}
    inputs = SelectionInputs(images, trial.view, trial.seed, scores, embedding, trial.ipc, further)
    return write_selection(folder, method.rank(inputs))
