"""The prior of a trial, whether it was adapted or not, and what decides it."""

from ddselect.backbone.choice import BackboneConfig, adapted
from ddselect.runtime.trial import Facts, Trial


def prior_of(trial: Trial) -> BackboneConfig:
    """The prior of a trial: the adapted one where there is one."""
    backbone: BackboneConfig = trial.experiment.backbone
    return adapted(backbone, trial.stages["backbone"].folder) if "backbone" in trial.stages else backbone


def prior_key(trial: Trial) -> Facts:
    """What decides a prior: its settings and the weights in its folders, wherever those are.

    An adapted one's weights are those of the stage that is read.
    """
    prior = prior_of(trial)
    weights = "adapted" if "backbone" in trial.stages else prior.signature() or prior.path
    return {"backbone": prior.without_places(), "weights": weights}


def prior_kind(config: Facts) -> list[object]:
    """What makes the costs of two priors comparable."""
    return [config["backbone"][key] for key in ("kind", "name", "image_size", "dtype")]
