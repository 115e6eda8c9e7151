"""The distilled images of each selection, with the provenance of every patch."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from ddselect.composition.compose import DISTILLED, METADATA
from ddselect.evaluation.branch import Branch
from ddselect.report.pictures import inline_file, shown_classes


@dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
        source: Data URI.
        title: Where it comes from, a line for each patch.
    """

    source: str
    title: str


@dataclass(frozen=True)
class Gallery:
    """Distilled images of one selection and seed.

    Attributes:
        selection: Its name.
        seed: Its seed.
        rows: Class name and pictures of each class shown.
        shown: Most images shown of a class.
        of: Most images that a class has.
    """

    selection: str
    seed: int
    rows: list[tuple[str, list[Picture]]]
    shown: int
    of: int


def galleries(trained: list[Branch], class_names: list[str], per_class: int) -> list[Gallery]:
    """Galleries of the first seed of every selection, without those that take all images."""
    seen: set[str] = set()
    found = []
    for item in trained:
        name = item.arm.selection.name
        if name not in seen and item.arm.selection.limit:
            found.append(_gallery(item, class_names, per_class))
        seen.add(name)
    return found


def _gallery(item: Branch, class_names: list[str], per_class: int) -> Gallery:
    root = item.stages["composition"].folder / DISTILLED
    by_class: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in (root / METADATA).read_text().splitlines():
        entry = json.loads(line)
        by_class[entry["label"]].append(entry)
    rows = []
    for label in shown_classes(len(class_names)):
        entries = by_class[label][:per_class]
        rows.append((class_names[label], [Picture(inline_file(root / e["file_name"]), provenance(e)) for e in entries]))
    most = max(len(entries) for entries in by_class.values())
    return Gallery(item.arm.selection.name, item.seed, rows, min(most, per_class), most)


def provenance(entry: dict[str, Any]) -> str:
    """Where the patches of a distilled image come from: its file, then a line for each patch."""
    lines = [entry["file_name"]]
    for patch in entry["patches"]:
        row, column = patch["cell"]
        kind = "whole image" if patch["kind"] == "image" else f"row {row + 1}, column {column + 1}"
        x0, y0, x1, y1 = patch["box"]
        cluster = f", cluster {patch['cluster']}" if patch["cluster"] >= 0 else ""
        lines.append(
            f"{kind}: {patch['source']} [{x0}, {y0}, {x1}, {y1}], rank {patch['rank'] + 1}, score "
            f"{patch['score']:.3g}{cluster}"
        )
    return "\n".join(lines)
