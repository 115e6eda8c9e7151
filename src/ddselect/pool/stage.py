"""Images that the prior makes, and if the pool is mixed the training images with them: an index."""

from ddselect.backbone.prior import prior_key, prior_kind
from ddselect.pool.settings import VERSION
from ddselect.runtime.stage import Cost, Stage
from ddselect.runtime.trial import Facts, Trial


def _expects(trial: Trial) -> Facts:
    pool, index = trial.experiment.pool, trial.stages["index"].facts
    real = index["images"]["train"] if pool.kind == "mixed" else 0
    return {"classes": index["classes"], "images": {"train": index["classes"] * pool.per_class + real}}


def _cost(config: Facts, facts: Facts) -> Cost:
    images = config["pool"]["per_class"] * facts["classes"]
    kind = {name: value for name, value in config["pool"].items() if name not in ("per_class", "seed")}
    return [prior_kind(config), kind], images, images


POOL = Stage(
    name="pool",
    version=VERSION,
    reads=("index", "backbone?", "prompt"),
    key=lambda t: {"pool": t.experiment.pool, **prior_key(t)},
    run="ddselect.pool.generation:run",
    exists=lambda t: bool(t.experiment.pool.generates and t.method.selection.limit),
    advice="choose pool=generated, mixed or prototypes",
    together=lambda _: True,
    title=lambda t: f"pool of {t.experiment.pool.name} images",
    expects=_expects,
    cost=_cost,
)
