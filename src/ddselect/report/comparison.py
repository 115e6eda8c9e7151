"""The comparison of selections as the page shows it: lines, a chart's axis, the accuracy of each class."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from ddselect.evaluation.results import Row, comparison
from ddselect.report.svg import Look, looks
from ddselect.runtime.trial import Trial
from ddselect.student.confusion import class_accuracies, read_confusion

_LISTED = 5  # classes
_AXES = {5: 1, 10: 2, 20: 5, 30: 5, 40: 10, 60: 10, 80: 20, 100: 20}  # end and step of the chart's axis in percent


@dataclass(frozen=True)
class Line:
    """One selection."""

    row: Row
    seeds: list[tuple[int, float]]  # seed and last top-1 in percent of each student
    look: Look
    reference: bool  # whether it trains on all images, whatever the IPC
    chosen: bool
    highest: bool  # whether its top-1 is the highest of several that are no reference


@dataclass(frozen=True)
class Comparison:
    """All selections."""

    rivals: list[Line]
    references: list[Line]
    chance: float  # top-1 in percent of guessing
    top: int  # end of the chart's axis in percent; it starts at 0
    ticks: list[int]

    @property
    def lines(self) -> list[Line]:
        """Rivals, then references."""
        return [*self.rivals, *self.references]

    @property
    def contender(self) -> Line | None:
        """The best of the rivals that the run did not choose."""
        others = [line for line in self.rivals if not line.chosen]
        return max(others, key=lambda line: line.row.top1, default=None)


def across_trainings(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What each student makes of each selection under each protocol; None for a single student and protocol.

    Returns:
        ``title``: what there are several of, in words; ``columns``: what tells each from the others, the chosen one
        first; ``rows``: each selection with its :class:`Row` for each column.
    """
    rows = comparison(entries)
    words = {"student": "with every student", "protocol": "under every protocol"}
    named = [name for name in words if len({getattr(row, name) for row in rows}) > 1]
    if not named:
        return None
    columns = dict.fromkeys(", ".join(getattr(row, name) for name in named) for row in rows)
    selections = dict.fromkeys(row.selection for row in rows)
    title = " and ".join(words[name] for name in named)
    lines = [(name, [row for row in rows if row.selection == name]) for name in selections]
    return {"title": title, "columns": [*columns], "rows": lines}


def compare(entries: list[dict[str, Any]], classes: int) -> Comparison:
    """The comparison of the entries of ``results.json`` for the chosen student and protocol, those of the first one."""
    entries = [e for e in entries if all(e[key] == entries[0][key] for key in ("protocol", "student"))]
    rows = comparison(entries)
    references = {entry["selection"] for entry in entries if entry["ipc"] is None}
    look = looks([row.selection for row in rows], references)
    highest = max((row.top1 for row in rows if row.selection not in references), default=0.0)
    several = len(rows) - len(references) > 1
    lines = [
        Line(
            row=row,
            seeds=[(e["seed"], e["top1_last"]) for e in entries if e["selection"] == row.selection],
            look=look[row.selection],
            reference=row.selection in references,
            chosen=row.selection == entries[0]["selection"],
            highest=several and row.selection not in references and row.top1 == highest,
        )
        for row in rows
    ]
    chance = 100 / classes
    reach = max(
        [chance, *(line.row.top1 + (line.row.top1_std or 0) for line in lines), *(e["top1_last"] for e in entries)]
    )
    top = next((end for end in _AXES if end >= reach), 100)
    rivals, all_data = [x for x in lines if not x.reference], [x for x in lines if x.reference]
    return Comparison(rivals, all_data, chance, top, list(range(0, top + 1, _AXES[top])))


def per_class(trained: Sequence[Trial], classes: int) -> dict[str, list[float | None]]:
    """Top-1 in percent of each class by selection, mean over seeds; None for a class without test images.

    All students are of one kind, under one protocol.
    """
    found: dict[str, list[list[float | None]]] = defaultdict(list)
    for trial in trained:
        found[trial.method.selection.name].append(class_accuracies(read_confusion(trial.training.folder), classes))
    return {
        name: [
            None if None in values else mean(v for v in values if v is not None) for values in zip(*seeds, strict=True)
        ]
        for name, seeds in found.items()
    }


def extremes(accuracies: Sequence[float | None] | None) -> dict[str, list[tuple[int, float]]]:
    """A few of the ``worst`` classes and of the ``best``, none in both: numbers and top-1, the most extreme first.

    Empty if the accuracies are not known or there is one class only.
    """
    known = [(label, value) for label, value in enumerate(accuracies or []) if value is not None]
    order = sorted(known, key=lambda pair: pair[1])
    count = min(_LISTED, len(order) // 2)
    return {"worst": order[:count], "best": order[::-1][:count]} if count else {}
