"""What a run refuses before any work: networks and priors that there are not, or that cannot take its images."""

from collections.abc import Sequence

from ddselect.embed.stage import fields_of_run
from ddselect.experiment import Experiment
from ddselect.runtime.trial import Trial
from ddselect.selection.rded import TeacherScoredConfig


def check_networks(trial: Trial, stages: Sequence[str]) -> None:
    """Builds every network that some stages need, without its weights, and shows it images; looks at the prior's files.

    ``trial`` is any of the run's.

    Raises:
        UserError: One of them will not do.
    """
    e: Experiment = trial.experiment
    view, crops = e.dataset.image_size, _crops(e)
    if "student" in stages:
        for student in e.students:
            student.check(view)
            if e.trainer.together:
                student.check_ranks(view, e.trainer.accelerator)
    if "teacher" in stages:
        e.teacher.check_network([view, *crops])
    if "embed" in stages and "features" in fields_of_run(trial):
        e.embed.check_network([view, *crops])
    if {"backbone", "prompt", "latents"} & {*stages}:
        folders, side = e.dataset.class_folders(), e.backbone.image_size
        e.backbone.check_files({side, e.embed.shown(side)} if e.embed.asks_prior else {side})
        e.backbone.check(e.prompt, e.dataset.class_names(folders), folders)


def _crops(e: Experiment) -> list[int]:
    """Sides in pixels of the crops that a teacher or an embedder is shown."""
    shares = set[float]()
    for method in (method.selection for method in e.methods):
        if isinstance(method, TeacherScoredConfig):
            shares |= {1.0 if method.padded else method.size, *([method.area[0] ** 0.5] if method.embeds else [])}
        elif method.embeds:
            shares |= {*e.boxes.sizes}
    return sorted({max(1, round(share * e.dataset.image_size)) for share in shares})
