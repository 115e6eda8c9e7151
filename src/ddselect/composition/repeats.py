"""Classes with fewer candidates than places: other boxes of the same images first, the same boxes again last."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ddselect.runtime.seeds import numpy_generator

Patch = dict[str, Any]  # a row of the selection table
_REACH = 4  # a box moves by up to its side divided by this


def endless(rows: list[Patch], size_of: Callable[[str], tuple[int, int]], seed: int) -> Iterator[Patch]:
    """The candidates of a class and kind in order, then more of them without end.

    In each further round every image, in the same order, gives a box of the same size that was not used before: moved
    by up to a quarter of its side, so that it stays near what was selected, and inside the file. Once no image has
    another one, all boxes used so far are gone through again. What comes does not depend on how much is taken, so that
    a larger IPC extends a smaller one.

    There is at least one row; ``size_of`` tells width and height in pixels of the image with an id.

    Yields:
        Rows; further ones have ``repeat``: ``moved`` or ``again``.
    """
    yield from rows
    used, used_boxes = list(rows), {_place(row) for row in rows}
    found, round_number = True, 0
    while found:
        found, round_number = False, round_number + 1
        for number, row in enumerate(rows):
            random = numpy_generator(seed, "repeat", row["label"], row["kind"], number, round_number)
            moved = _moved(row, size_of(row["id"]), used_boxes, random)
            if moved:
                found = True
                used.append(moved)
                used_boxes.add(_place(moved))
                yield moved
    while True:
        yield from ({**row, "repeat": "again"} for row in used)


def tell_repeats(metadata: list[dict[str, Any]]) -> dict[str, object]:
    """How many boxes were moved and repeated, and what to tell of classes that had too few candidates, if any."""
    repeats: Counter[str] = Counter()
    short: Counter[str] = Counter()
    for entry in metadata:
        for patch in entry["patches"]:
            if patch["repeat"]:
                repeats[patch["repeat"]] += 1
                short[patch.get("class", entry["class"])] += 1
    facts: dict[str, object] = {
        "short_classes": len(short),
        "moved_boxes": repeats["moved"],
        "repeated_boxes": repeats["again"],
    }
    if not short:
        return facts
    name, places = short.most_common(1)[0]
    text = (
        f"{len(short)} classes have fewer candidates than places, '{name}' by {places}: {repeats['moved']} patches are "
        f"other boxes of the same images, {repeats['again']} are boxes used before"
    )
    return {**facts, "told": [text]}


def _place(row: Patch) -> tuple[str, int, int, int, int]:
    return row["id"], row["x0"], row["y0"], row["x1"], row["y1"]


def _moved(
    row: Patch, size: tuple[int, int], used: set[tuple[str, int, int, int, int]], random: np.random.Generator
) -> Patch | None:
    """A random one of the boxes around a row's that are not used; None if there is none."""
    starts = []
    for low, high, length in ((row["x0"], row["x1"], size[0]), (row["y0"], row["y1"], size[1])):
        reach = max(1, (high - low) // _REACH)
        starts.append(range(max(0, low - reach), min(length - (high - low), low + reach) + 1))
    columns, lines = starts
    for number in random.permutation(len(columns) * len(lines)).tolist():
        x, y = columns[number % len(columns)], lines[number // len(columns)]
        corners = {"x0": x, "y0": y, "x1": x + row["x1"] - row["x0"], "y1": y + row["y1"] - row["y0"]}
        moved = {**row, **corners, "repeat": "moved"}
        if _place(moved) not in used:
            return moved
    return None
