"""The adapted prior: fine-tuned on the training images, or a small one trained on them from scratch."""

from ddselect.backbone.adapt import VERSION
from ddselect.backbone.choice import BackboneConfig, adapted
from ddselect.runtime.stage import Cost, Stage
from ddselect.runtime.trial import Facts, Trial

_SCHEDULE = ("steps", "batch_size", "seed", "learning_rate", "warmup", "decay")


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


def _key(trial: Trial) -> Facts:
    prompt = trial.experiment.prompt
    return {**prior_key(trial), "prompt": prompt, "texts": prompt.signature()}


def _cost(config: Facts, _: Facts) -> Cost:
    adapt = config["backbone"]["adapt"]
    kind = {name: value for name, value in adapt.items() if name not in _SCHEDULE}
    return [prior_kind(config), kind], adapt["steps"] * adapt["batch_size"], 1


BACKBONE = Stage(
    name="backbone",
    version=VERSION,
    reads=("index",),
    key=_key,
    run="ddselect.backbone.adapting:run",
    exists=lambda t: bool(t.experiment.backbone.adapt.mode != "none"),
    advice="choose backbone/adapt=full, lora or scratch",
    together=lambda _: True,
    cost=_cost,
)
