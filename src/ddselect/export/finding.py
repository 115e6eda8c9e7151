"""Which distilled set of a run is meant."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddselect.composition.card import Card
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json
from ddselect.runtime.integrity import MANIFEST, check, damaged

RESULTS = "results.json"
KEYS = ("selection", "seed", "protocol", "student")


@dataclass(frozen=True)
class Found:
    """A distilled set in the store.

    Attributes:
        root: Folder of the images, the one with ``metadata.jsonl``.
        card: What its card tells.
        labels: Folder of its stored labels; None if there are none.
    """

    root: Path
    card: Card
    labels: Path | None


def find_distilled(run: Path, wanted: dict[str, Any]) -> Found:
    """The distilled set of a run, and the labels stored for it.

    Args:
        run: The run's folder, or its ``results.json``.
        wanted: What its entry in the results must have of selection, seed, protocol and student, as far as it matters.

    Raises:
        UserError: There is no finished run, no such set, more than one, or its files are gone.
    """
    path = run if run.name == RESULTS else run / RESULTS
    if not path.is_file():
        raise UserError(f"{path} is missing; give the folder of a finished run, outputs/<date>")
    every = read_json(path).get("results", [])
    entries = [entry for entry in every if all(entry.get(key) == value for key, value in wanted.items())]
    if not entries:
        asked = ", ".join(f"{key} {value}" for key, value in wanted.items())
        raise UserError(f"{path} has nothing of {asked}; it has {_choices(every, KEYS)}")
    if any("distilled" not in entry for entry in entries):
        raise UserError(f"{path} is of an earlier version; give the run's command again, what is done is skipped")
    _check_single(path, entries, "distilled", "distilled sets", KEYS[:2])
    _check_single(path, entries, "labels", "stores of labels for this set", KEYS[2:])
    root = (path.parent / entries[0]["distilled"]).resolve()
    labels = entries[0]["labels"] and (path.parent / entries[0]["labels"]).resolve()
    for folder in (root.parent, *([labels] if labels else [])):
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{folder / MANIFEST} is gone from the store; give the run's command again to make it")
        if found := check(folder)[1]:
            raise damaged(folder, found)
    return Found(root, Card(**check(root.parent)[0]["facts"]["card"]), labels)


def _check_single(path: Path, entries: list[dict[str, Any]], key: str, what: str, keys: tuple[str, ...]) -> None:
    """Refuses entries that lead to different places."""
    places = {entry[key] for entry in entries}
    if len(places) > 1:
        raise UserError(f"{path} has {len(places)} {what}; choose one of {_choices(entries, keys)}")


def _choices(entries: list[dict[str, Any]], keys: tuple[str, ...]) -> str:
    """The values of some keys that differ, as options of the command line."""
    values = {key: list(dict.fromkeys(str(entry[key]) for entry in entries)) for key in keys}
    several = {key: found for key, found in values.items() if len(found) > 1} or values
    return ", ".join(f"--{key} {'|'.join(found)}" for key, found in several.items())
