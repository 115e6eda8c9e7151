"""Latents, if they are kept, and the difference maps of every image that is selected from."""

from ddselect.backbone.prior import prior_key, prior_kind
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.candidates import candidate_count
from ddselect.scoring.settings import CHECK_VERSION, LATENTS_VERSION, VERSION


def _latents_key(trial: Trial) -> Facts:
    scoring = trial.experiment.scoring
    return {"cap": scoring.cap, "seed": scoring.seed if scoring.cap else 0, **prior_key(trial)}


def _expects(trial: Trial) -> Facts:
    e, images = trial.experiment, candidate_count(trial.images, trial.experiment.scoring.cap)
    each = e.scoring.evaluations(e.prompt.conditions)
    return {"images": images, "network_evaluations_per_image": each, "evaluations": images * each}


def _check_key(trial: Trial) -> Facts:
    scoring = trial.experiment.scoring
    decides = {"band": scoring.band, "seed": scoring.seed, "refuses": scoring.check_prior}
    return {**decides, **prior_key(trial)}


LATENTS = Stage(
    name="latents",
    version=LATENTS_VERSION,
    reads=("index", "pool?", "backbone?"),
    key=_latents_key,
    run="ddselect.scoring.run:keep",
    exists=lambda t: bool(t.experiment.scoring.keep_latents),
    advice="set scoring.keep_latents=true",
    together=lambda _: True,
    expects=lambda t: {"images": candidate_count(t.images, t.experiment.scoring.cap)},
    cost=lambda config, facts: (prior_kind(config), facts["images"], facts["images"]),
    unit="images",
)
PRIOR_CHECK = Stage(
    name="prior_check",
    version=CHECK_VERSION,
    reads=("index", "backbone?", "prompt"),
    key=_check_key,
    run="ddselect.scoring.prior_check:check_prior",
    exists=lambda t: bool(t.experiment.prompt.tells_classes),
    advice="choose prompt=label, or prompt=text with {label} in its templates",
    checks="scoring",
    title=lambda t: f"prior {t.experiment.backbone.name} on real images",
    cost=lambda config, _: (prior_kind(config), 1, 1),
)
SCORING = Stage(
    name="scoring",
    version=VERSION,
    reads=("index", "pool?", "backbone?", "prompt", "latents?"),
    key=lambda t: {"scoring": t.experiment.scoring, **prior_key(t)},
    run="ddselect.scoring.run:score",
    together=lambda _: True,
    expects=_expects,
    cost=lambda c, f: ([prior_kind(c), c["scoring"]["keep_latents"]], f["evaluations"], f["images"]),
    unit="evaluations",
)
