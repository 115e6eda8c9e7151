"""How many draws, in which band, the prior needs on the dataset: tried on a few images."""

from ddselect.backbone.prior import prior_key, prior_kind
from ddselect.pilot.settings import VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _key(trial: Trial) -> Facts:
    e = trial.experiment
    return {"pilot": e.pilot, "scoring": e.scoring, "boxes": e.boxes, **prior_key(trial)}


def _expects(trial: Trial) -> Facts:
    pilot = trial.experiment.pilot
    return {"images": min(pilot.classes, trial.classes) * pilot.images}


PILOT = Stage(
    name="pilot",
    version=VERSION,
    reads=("index", "pool?", "backbone?", "prompt", "latents?"),
    key=_key,
    run="ddselect.pilot.trial:run",
    together=lambda _: True,
    expects=_expects,
    cost=lambda c, f: ([prior_kind(c), {**c["pilot"], "classes": 0, "images": 0, "seed": 0}], f["images"], f["images"]),
)
