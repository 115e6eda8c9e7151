"""The one pass in which the teacher, or another network, sees every candidate and every real image."""

from ddselect.backbone.prior import prior_key
from ddselect.embed.fields import boxes_of, fields_of_run, prior_for_features, real_apart
from ddselect.embed.settings import VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


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
