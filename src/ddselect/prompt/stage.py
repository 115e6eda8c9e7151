"""The conditions of every class; text is embedded here, once, and its encoder is gone before scoring starts."""

from ddselect.backbone.prior import prior_key, prior_kind
from ddselect.prompt.conditions import VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _key(trial: Trial) -> Facts:
    e = trial.experiment
    names = e.dataset.class_names(e.dataset.class_folders())
    return {**prior_key(trial), "prompt": e.prompt, "texts": e.prompt.signature(), "names": names}


PROMPT = Stage(
    name="prompt",
    version=VERSION,
    reads=("index", "backbone?"),
    key=_key,
    run="ddselect.prompt.run:embed_prompts",
    cost=lambda c, _: ([prior_kind(c), c["prompt"]["kind"]], len(c["names"]), len(c["names"])),
    on_processor=True,
)
