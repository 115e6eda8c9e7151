"""The comparison of selections as the page shows it: lines, a chart's axis, and the words that keep it honest."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

from ddselect.evaluation.results import Row, comparison
from ddselect.report.palette import Look, looks

_AXES = (
    (5, 1),
    (10, 2),
    (20, 5),
    (30, 5),
    (40, 10),
    (60, 10),
    (80, 20),
    (100, 20),
)  # end and step of the chart's axis in percent


@dataclass(frozen=True)
class Line:
    """One selection.

    Attributes:
        row: Its numbers over seeds.
        seeds: Seed and last top-1 in percent of each student.
        look: How it is drawn.
        reference: Whether it trains on all images, whatever the IPC.
        chosen: Whether it is the selection of the run rather than one it is compared with.
        highest: Whether its top-1 is the highest of several that are no reference.
    """

    row: Row
    seeds: list[tuple[int, float]]
    look: Look
    reference: bool
    chosen: bool
    highest: bool


@dataclass(frozen=True)
class Comparison:
    """All selections.

    Attributes:
        rivals: Selections at the run's IPC, in its order.
        references: Full-data references.
        chance: Top-1 in percent of guessing.
        top: End of the chart's axis in percent; it starts at 0.
        ticks: Its marks.
        notes: What a reader must know to read the numbers.
    """

    rivals: list[Line]
    references: list[Line]
    chance: float
    top: int
    ticks: list[int]
    notes: list[str]

    @property
    def lines(self) -> list[Line]:
        """Rivals, then references."""
        return [*self.rivals, *self.references]

    @property
    def contender(self) -> Line | None:
        """The best of the rivals that the run did not choose."""
        others = [line for line in self.rivals if not line.chosen]
        return max(others, key=lambda line: line.row.top1, default=None)


@dataclass(frozen=True)
class Trainings:
    """Top-1 of every selection with every student under every protocol.

    Attributes:
        title: What there are several of, in words.
        columns: What tells a column from the others, the chosen student and protocol first.
        rows: Each selection with its numbers, one for each column.
    """

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Row]]]


def across_trainings(entries: list[dict[str, Any]]) -> Trainings | None:
    """What each student makes of each selection under each protocol; None for a single student and protocol.

    Args:
        entries: ``results`` of ``results.json``.
    """
    rows = comparison(entries)
    words = {"student": "with every student", "protocol": "under every protocol"}
    named = [name for name in words if len({getattr(row, name) for row in rows}) > 1]
    if not named:
        return None
    columns = dict.fromkeys(", ".join(getattr(row, name) for name in named) for row in rows)
    selections = dict.fromkeys(row.selection for row in rows)
    title = " and ".join(words[name] for name in named)
    return Trainings(title, [*columns], [(name, [row for row in rows if row.selection == name]) for name in selections])


def _way(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["protocol"], entry["student"]


def compare(entries: list[dict[str, Any]], classes: int) -> Comparison:
    """The comparison of the entries of ``results.json`` for the chosen student and protocol, those of the first one.

    Args:
        entries: Its ``results``.
        classes: Number of classes.
    """
    entries = [entry for entry in entries if _way(entry) == _way(entries[0])]
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
    top, step = next(((end, step) for end, step in _AXES if end >= reach), _AXES[-1])
    rivals, all_data = [x for x in lines if not x.reference], [x for x in lines if x.reference]
    notes = _notes(lines, entries[0]["test_images"], all_data)
    return Comparison(rivals, all_data, chance, top, list(range(0, top + 1, step)), notes)


def _notes(lines: list[Line], tests: int, references: list[Line]) -> list[str]:
    """The caveats that these numbers need."""
    seeds = min(line.row.seeds for line in lines)
    error = 100 * sqrt(0.25 / tests)
    sampling = f"measured on {tests} test images, an accuracy has a standard error of up to {error:.1f} points"
    if seeds == 1:
        notes = [f"One seed: no spread, differences of a few points may be chance ({sampling})."]
    else:
        rough = " A spread of so few seeds is itself only a rough guess." if seeds < 5 else ""
        notes = [
            f"± is the sample standard deviation over {seeds} seeds, each with its own selection and its own student. "
            f"Differences within the spread may be chance ({sampling}).{rough}"
        ]
    notes.append(
        "“Best” is the highest of the tests made during training. It is picked on the test images, so it flatters; the "
        "comparison goes by the last one."
    )
    notes += [
        f"“{line.row.selection}” trains on all {line.row.images} images under the same protocol: a reference for what "
        "the full data give here, not a competitor."
        for line in references
    ]
    return notes
