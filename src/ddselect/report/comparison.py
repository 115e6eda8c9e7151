"""The comparison of selections as the page shows it: lines and a chart's axis."""

from dataclasses import dataclass
from typing import Any

from ddselect.evaluation.results import Row, comparison
from ddselect.report.svg import Look, looks

_AXES = {5: 1, 10: 2, 20: 5, 30: 5, 40: 10, 60: 10, 80: 20, 100: 20}  # end and step of the chart's axis in percent


@dataclass(frozen=True)
class Line:
    """One selection.

    Attributes:
        seeds: Seed and last top-1 in percent of each student.
        reference: Whether it trains on all images, whatever the IPC.
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
        chance: Top-1 in percent of guessing.
        top: End of the chart's axis in percent; it starts at 0.
    """

    rivals: list[Line]
    references: list[Line]
    chance: float
    top: int
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

    Args:
        entries: ``results`` of ``results.json``.

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
