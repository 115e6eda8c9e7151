"""What a run warned of, gathered from its stages: for the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ddselect.dataset.index import left_out_text
from ddselect.dataset.survey import UNREADABLE
from ddselect.runtime.files import read_json
from ddselect.runtime.store import StageResult
from ddselect.runtime.trial import Trial

_LISTED = 50  # unreadable images, prompts


@dataclass(frozen=True)
class Caveat:
    """Something to know of a result: a sentence without its full stop, and what it is about, one by one."""

    about: str
    text: str
    items: list[str] = field(default_factory=list)


def caveats(trained: Sequence[Trial], results: dict[str, Any]) -> list[Caveat]:
    """All of them, in the order of the stages."""
    found = _of_images(trained[0].stages["index"])
    shortened = _fact_of(trained, "prompt", "shortened")
    if shortened:
        which = "Prompts were too long for the prior, which saw only their beginnings"
        found.append(Caveat("prompt", which, list(shortened)[:_LISTED]))
    left_out = _fact_of(trained, "scoring", "images_left_out")
    if left_out:
        found.append(Caveat("scoring", f"{_count(left_out, 'image')} not scored (scoring.cap), so never selected"))
    found += _of_compositions(trained)
    for name, changes in results["deviations"].items():
        if changes:
            found.append(Caveat("protocol", f"Not the protocol {name} as it stands", changes))
    if results["environment"]["modified"]:
        found.append(
            Caveat("code", "The code had changes that are not committed, so the commit below is not all of it")
        )
    return found


def _fact_of(trained: Sequence[Trial], stage: str, fact: str) -> Any:
    """What the first trial that has a stage says of it; None if there is none."""
    return next((trial.stages[stage].facts.get(fact) for trial in trained if stage in trial.stages), None)


def _of_images(index: StageResult) -> list[Caveat]:
    """Copies of images, files that are none, and images that could not be read."""
    texts = [str(twin["text"]) for twin in index.facts.get("duplicates", {}).values()]
    texts += left_out_text(index.facts.get("left_out", {}))
    found = [Caveat("images", text[0].upper() + text[1:]) for text in texts]
    path = index.folder / UNREADABLE
    listed = read_json(path)["files"] if path.exists() else []
    if listed:
        first = f", the first {_LISTED}" if len(listed) > _LISTED else ""
        items = [f"{entry['path']}: {entry['error']}" for entry in listed[:_LISTED]]
        found.append(Caveat("images", f"{_count(len(listed), 'unreadable image')} skipped{first}", items))
    return found


def _of_compositions(trained: Sequence[Trial]) -> list[Caveat]:
    """Classes that had too few candidates, and what is odd about sets that were given."""
    found: dict[str, Caveat] = {}
    for trial in trained:
        done, name = trial.stages["composition"], f"{trial.method.selection.name}, seed {trial.seed}"
        if not trial.method.selection.ranks:
            made = [trial.stages[stage] for stage in ("given_check", "composition") if stage in trial.stages]
            found |= {text: Caveat("composition", text) for one in made for text in one.facts.get("told", [])}
        short, moved, again = (done.facts.get(key, 0) for key in ("short_classes", "moved_boxes", "repeated_boxes"))
        if short:
            classes = "1 class has" if short == 1 else f"{short} classes have"
            patches = f"{moved} patches are other boxes of the same images, {again} are boxes used before"
            found[done.fingerprint] = Caveat("composition", f"{name}: {classes} too few candidates, so {patches}")
    return list(found.values())


def _count(number: int, what: str) -> str:
    return f"{number} {what} was" if number == 1 else f"{number} {what}s were"
