"""The one pass in which the teacher, or another network, sees every candidate and every real image."""

from ddselect.backbone.stage import prior_key
from ddselect.embed.settings import VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial

SCORED: dict[str, list[str]] = {"prior": ["boxes"], "teacher": ["teacher_crops"], "": []}  # who makes a method's boxes


def fields_of_run(trial: Trial) -> set[str]:
    """What is read of it: one pass serves all selections of a run that have the same candidates."""
    e, boxes = trial.experiment, boxes_of(trial)
    mine = [method.selection for method in e.methods if SCORED[method.selection.scored_by] == boxes]
    return {field for method in mine for field in method.embeds} | {*["features"] * e.evaluation.quality}


def prior_for_features(trial: Trial) -> list[str]:
    """The stages that make the prior, where the features are the prior's own."""
    return ["backbone?", "prompt"] if trial.experiment.embed.asks_prior and "features" in fields_of_run(trial) else []


def boxes_of(trial: Trial) -> list[str]:
    """The stage whose boxes are embedded: the trial's own candidates, or those that the run scores in any case."""
    if trial.method.selection.embeds:
        return SCORED[trial.method.selection.scored_by]
    methods = [method.selection for method in trial.experiment.methods]
    return ["boxes"] if any(method.embeds and method.scored_by == "prior" for method in methods) else []


def real_apart(trial: Trial) -> bool:
    """Whether the real images, with which distilled sets are compared, are not all among the candidates."""
    e = trial.experiment
    return bool(e.evaluation.quality and (e.pool.generates or e.scoring.cap))


def _reads(trial: Trial) -> list[str]:
    by_teacher = {"loss", "entropy", *["features"] * trial.experiment.embed.by_teacher}
    teacher = ["teacher"] * bool(fields_of_run(trial) & by_teacher)
    return ["index", "pool?", *teacher, *prior_for_features(trial), *boxes_of(trial)]


def _key(trial: Trial) -> Facts:
    embed = trial.experiment.embed
    network = embed if "features" in fields_of_run(trial) and not embed.by_teacher else None
    prior = prior_key(trial) if prior_for_features(trial) else {}
    entropy = {"entropy": True} if "entropy" in fields_of_run(trial) else {}
    return {"view": trial.view, "real": real_apart(trial), "embed": network, **prior, **entropy}


def _expects(trial: Trial) -> Facts:
    scored = next((trial.stages[name].facts for name in boxes_of(trial)), None)
    images = scored["images"] if scored else trial.images.facts["images"]["train"]
    return {"images": images, "crops": images * (trial.experiment.boxes.per_image if scored else 0)}


EMBED = Stage(
    name="embed",
    version=VERSION,
    reads=_reads,
    key=_key,
    run="ddselect.embed.run:run",
    exists=lambda t: bool(t.method.selection.limit and fields_of_run(t)),
    advice="choose a selection that looks at features, like diffusion or herding, or set evaluation.quality=true",
    together=lambda t: "teacher_crops" not in t.stages,
    title=lambda t: "embedding of the candidates" + (f", seed {t.seed}" if "teacher_crops" in t.stages else ""),
    expects=_expects,
    cost=lambda c, f: ([c["embed"], c["view"]], f["images"] + f["crops"], f["images"] + f["crops"]),
    unit="images",
)
