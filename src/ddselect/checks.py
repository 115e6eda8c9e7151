"""What a run refuses before any work: networks and priors that cannot take its images, and sets that are too large."""

from collections.abc import Sequence

from ddselect.embed.fields import fields_of_run
from ddselect.experiment import Experiment
from ddselect.runtime.errors import UserError
from ddselect.runtime.trial import Trial
from ddselect.selection.rded import TeacherScoredConfig

_SMALL = 10_000  # images: a distilled set that costs no night, whatever it is distilled from


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


def check_ipc(trial: Trial) -> None:
    """Refuses a distilled set that would be more than twice as large as what it is distilled from.

    Where the images are not counted yet, in a dry run, nothing is refused.

    Raises:
        UserError: It would be.
    """
    facts, pool = trial.stages["index"].facts, trial.experiment.pool
    if not trial.ipc or "images" not in facts:
        return
    images = facts["images"]["train"] + pool.generates * pool.per_class * trial.classes
    most = max(_SMALL, 2 * images) // trial.classes
    if trial.ipc > most:
        raise UserError(
            f"ipc={trial.ipc}: {trial.ipc * trial.classes:,} distilled images of {images:,} in {trial.classes} "
            f"classes; up to ipc={most} is taken here"
        )


def _crops(e: Experiment) -> list[int]:
    """Sides in pixels of the crops that a teacher or an embedder is shown."""
    shares = set[float]()
    for method in (method.selection for method in e.methods):
        if isinstance(method, TeacherScoredConfig):
            shares |= {1.0 if method.padded else method.size, *([method.area[0] ** 0.5] if method.embeds else [])}
        elif method.embeds:
            shares |= {*e.boxes.sizes}
    return sorted({max(1, round(share * e.dataset.image_size)) for share in shares})
