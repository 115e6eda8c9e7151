"""The prompt stage."""

from pathlib import Path

from ddselect.backbone.prior import prior_of
from ddselect.dataset.index import index_of
from ddselect.prompt.conditions import write_conditions
from ddselect.runtime.trial import Facts, Trial


def embed_prompts(trial: Trial, folder: Path) -> Facts:
    """Writes the conditions of the dataset's classes."""
    e, images = trial.experiment, index_of(trial)
    names, folders = images.class_names, images.class_folders
    conditions = prior_of(trial).conditions(e.prompt, names, folders, e.trainer.device)
    write_conditions(folder, conditions, names, folders)
    return {"mode": e.prompt.mode, "reference": conditions.words[-1], "shortened": conditions.shortened}
