"""Which stages a run makes: those that the user names, what these need, and nothing beyond."""

from typing import TYPE_CHECKING

from ddselect.runtime.errors import UserError

if TYPE_CHECKING:  # it imports this module
    from ddselect.config import Experiment

# Every stage in the order of the way, with those that it reads.
NEEDS: dict[str, tuple[str, ...]] = {
    "index": (),
    "teacher": ("index",),
    "backbone": ("index",),
    "prompt": ("index", "backbone"),
    "pool": ("prompt",),
    "latents": ("backbone", "pool", "index"),
    "pilot": ("prompt", "pool", "latents"),
    "scoring": ("prompt", "pool", "latents"),
    "boxes": ("scoring",),
    "losses": ("teacher", "pool"),
    "features": ("teacher", "prompt", "scoring", "boxes", "losses"),
    "confidence": ("teacher", "pool", "scoring", "boxes"),
    "styles": ("pool", "scoring", "boxes"),
    "real": ("teacher",),
    "selection": ("index", "pool", "scoring", "boxes", "losses", "features", "confidence", "styles"),
    "composition": ("selection",),
    "quality": ("composition", "real", "teacher"),
    "relabel": ("composition", "teacher"),
    "student": ("composition", "teacher", "relabel"),
    "report": ("student", "quality"),
}
STAGES = tuple(NEEDS)


def wanted_stages(experiment: "Experiment") -> frozenset[str]:
    """Names of the stages that ``stages`` asks for, with all that they need in this experiment.

    Raises:
        UserError: The experiment has no stage of a name.
    """
    absent = _absent(experiment)
    for name in experiment.stages:
        if name in absent:
            raise UserError(f"stages=[{name}]: this run has no such stage; {absent[name]}")
    unread = _unread(experiment)
    found: set[str] = set()
    waiting = list(experiment.stages)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [before for before in NEEDS[name] if before not in absent and (name, before) not in unread]
    return frozenset(found)


def _unread(experiment: "Experiment") -> set[tuple[str, str]]:
    """Pairs of a stage and one before it that it does not read in an experiment."""
    found = set()
    if not any(arm.selection.scored_by == "prior" for arm in experiment.arms):
        found |= {(name, before) for name in ("features", "selection") for before in ("scoring", "boxes")}
    if not experiment.embed.asks_prior:
        found.add(("features", "prompt"))
    return found


def _absent(experiment: "Experiment") -> dict[str, str]:
    """Stages that an experiment does not have, and what to do to have them."""
    e = experiment
    methods = [arm.selection for arm in e.arms]
    soft = any(protocol.labels == "soft" for protocol in e.protocols)
    compared = e.evaluation.quality and any(method.limit for method in methods)
    rules = {
        "backbone": (e.backbone.adapt.mode != "none", "choose backbone/adapt=full, lora or scratch"),
        "pool": (e.pool.generates, "choose pool=generated, mixed or prototypes"),
        "latents": (e.scoring.keep_latents, "set scoring.keep_latents=true"),
        "boxes": (bool(e.boxes.sizes), "choose boxes=scales"),
        "losses": (
            any(m.scored_by == "teacher" for m in methods),
            "choose a selection like rded, which asks the teacher",
        ),
        "features": (
            any(m.needs_features for m in methods),
            "choose a selection that looks at features, like herding, or diffusion with selection.crop_pick=best",
        ),
        "confidence": (
            any(m.needs_confidence for m in methods),
            "choose a selection that asks the teacher too, like diffusion with selection.confidence=0.5",
        ),
        "styles": (
            any(m.needs_styles for m in methods),
            "choose a selection that takes candidates by style, like diffusion",
        ),
        "real": (compared, "set evaluation.quality=true"),
        "quality": (compared, "set evaluation.quality=true"),
        "relabel": (soft and e.relabel.keep != "nothing", "choose relabel=logits or features, with soft labels"),
    }
    return {name: advice for name, (has, advice) in rules.items() if not has}
