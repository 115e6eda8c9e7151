"""The adapted prior: fine-tuned on the training images, or a small one trained on them from scratch."""

from ddselect.backbone.adapt import VERSION
from ddselect.backbone.prior import prior_key, prior_kind
from ddselect.runtime.stage import Cost, Stage
from ddselect.runtime.trial import Facts, Trial

_SCHEDULE = ("steps", "batch_size", "seed", "learning_rate", "warmup", "decay")


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
