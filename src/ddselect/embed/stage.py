"""The one pass in which the teacher, or another network, sees every candidate and every real image."""

from ddselect.backbone.stage import prior_key, prior_of
from ddselect.embed.settings import VERSION
from ddselect.runtime.stage import Facts, Stage, Trial


def fields_of_run(trial: Trial) -> set[str]:
    """What the selections of a run read of it: one pass serves all of them."""
    e = trial.experiment
    return {field for method in e.methods for field in method.selection.embeds} | {
        *(["features"] if e.evaluation.quality else [])
    }


def needs_teacher(trial: Trial) -> bool:
    """Whether the teacher sees the images: for its features, or its losses."""
    fields, by_teacher = fields_of_run(trial), trial.experiment.embed.by_teacher
    return "loss" in fields or (by_teacher and "features" in fields)


def embeds_elsewhere(trial: Trial) -> bool:
    """Whether the features are those of another network."""
    return not trial.experiment.embed.by_teacher and "features" in fields_of_run(trial)


def prior_for_features(trial: Trial) -> list[str]:
    """The stages that make the prior, where the features are the prior's own."""
    return ["backbone?", "prompt"] if embeds_elsewhere(trial) and trial.experiment.embed.asks_prior else []


def boxes_of(trial: Trial) -> list[str]:
    """The stage whose boxes are embedded: the trial's own candidates, or those that the run scores in any case."""
    if trial.method.selection.embeds and trial.method.selection.scored_by == "teacher":
        return ["teacher_crops"]
    methods = [method.selection for method in trial.experiment.methods]
    return ["boxes"] if any(method.embeds and method.scored_by == "prior" for method in methods) else []


def real_apart(trial: Trial) -> bool:
    """Whether the real images, with which distilled sets are compared, are not all among the candidates."""
    e = trial.experiment
    return bool(e.evaluation.quality and (e.pool.generates or e.scoring.cap))


def _reads(trial: Trial) -> list[str]:
    teacher = ["teacher"] * needs_teacher(trial)
    return ["index", "pool?", *teacher, *prior_for_features(trial), *boxes_of(trial)]


def _key(trial: Trial) -> Facts:
    e, elsewhere = trial.experiment, embeds_elsewhere(trial)
    network = {"embed": e.embed} if elsewhere else {}
    prior = prior_key(prior_of(trial)) if elsewhere and e.embed.asks_prior else {}
    return {"view": trial.view, "real": real_apart(trial), **network, **prior}


def _expects(trial: Trial) -> Facts:
    scored = next((trial.stages[name].facts for name in boxes_of(trial)), None)
    images = scored["images"] if scored else trial.images.facts["images"]["train"]
    return {"images": images, "crops": images * (trial.experiment.boxes.per_image if scored else 0)}


def _cost(config: Facts, facts: Facts) -> tuple[object, float, float]:
    rows = facts["images"] + facts["crops"]
    return [config.get("embed"), config["view"]], rows, rows


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
    cost=_cost,
    unit="images",
)
