"""What a run reads of the embedding, and of which candidates."""

from ddselect.runtime.trial import Trial

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
