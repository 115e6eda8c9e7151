"""The quality of distilled sets as the page shows it."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Any, NamedTuple

_COLUMNS = {  # place in an entry, heading, factor, digits
    ("quality", "coverage"): ("coverage", 1, 3),
    ("quality", "density"): ("density", 1, 2),
    ("quality", "diversity"): ("diversity", 1, 2),
    ("quality", "redundancy"): ("redundancy", 1, 3),
    ("quality", "teacher_loss"): ("teacher loss", 1, 3),
    ("localisation", "coverage"): ("true box covered, %", 100, 1),
}


class Qualities(NamedTuple):
    """A table with a line for each selection."""

    headings: list[str]
    lines: list[tuple[str, list[str]]]


def quality_lines(entries: Sequence[dict[str, Any]]) -> Qualities:
    """Means over seeds of what was measured on each selection's distilled sets."""
    sets: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for entry in entries:
        if entry["quality"]:
            sets[entry["selection"]][entry["seed"]] = entry  # several students share a set
    found = {name: {place: _mean(list(mine.values()), *place) for place in _COLUMNS} for name, mine in sets.items()}
    shown = [place for place in _COLUMNS if any(values[place] is not None for values in found.values())]
    lines = [(name, [_words(values[place], *_COLUMNS[place][1:]) for place in shown]) for name, values in found.items()]
    return Qualities([_COLUMNS[place][0] for place in shown], lines)


def _mean(entries: list[dict[str, Any]], part: str, name: str) -> float | None:
    known = [entry[part][name] for entry in entries if entry[part] and entry[part][name] is not None]
    return mean(known) if known else None


def _words(value: float | None, factor: int, digits: int) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"
