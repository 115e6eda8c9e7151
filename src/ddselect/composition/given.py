"""A distilled set that is given becomes one of ours: the same images, in the same form."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ddselect.composition.compose import Composition, check_factor
from ddselect.composition.distilled import DISTILLED, METADATA
from ddselect.dataset.images import cut_image, square_box
from ddselect.dataset.index import Index
from ddselect.runtime.files import write_text
from ddselect.runtime.progress import counting
from ddselect.selection.given import GivenSet


def copy_given(
    who: str, given: GivenSet, index: Index, composition: Composition, ipc: int | None, view: int, folder: Path
) -> dict[str, Any]:
    """Writes ``<folder>/distilled/<class>/<number>.png`` and ``metadata.jsonl`` of a set, as :func:`compose` does.

    Images of another size than ``view``, the side of those that are trained on, are resized like those of the dataset.
    What is odd about the set is told.

    Raises:
        UserError: An image cannot be read, or the factor does not divide the size.
    """
    check_factor(side := 1 if composition.whole == 1 else composition.factor, view)
    root, sizes, lines = folder / DISTILLED, Counter[tuple[int, int]](), list[dict[str, Any]]()
    counts = np.bincount(given.labels, minlength=len(index.class_names))
    with counting("composition", len(given.labels), "images") as counter:
        for number, label in enumerate(given.labels.tolist()):
            image, slot = given.read(number), number - int(counts[:label].sum())
            sizes[image.size] += 1
            file = f"{index.class_folders[label]}/{slot:05d}.png"
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            pixels = cut_image(image, None, view)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(root / file, compress_level=1)
            patches = _patches(given.sources[number], image.size, side, slot)
            lines.append({"file_name": file, "label": label, "class": index.class_names[label], "patches": patches})
            counter.advance()
    write_text(root / METADATA, "".join(json.dumps(line) + "\n" for line in lines))
    told = [f"{who}: {text}" for text in (*given.odd, *_about(sizes, counts, ipc, view))]
    size = sum((root / str(line["file_name"])).stat().st_size for line in lines)
    return {"images": len(lines), "image_bytes": size, "told": told}


def _patches(source: str, size: tuple[int, int], side: int, slot: int) -> list[dict[str, Any]]:
    """What the metadata tell of an image that is whole (side 1), or stitched from ``side`` x ``side`` crops."""
    x0, y0, x1, _ = square_box(*size)
    edges = [round((x1 - x0) * k / side) for k in range(side + 1)]
    told = {"kind": "image" if side == 1 else "crop", "score": 0.0, "cluster": -1, "rank": slot, "repeat": ""}
    cells = [(row, column) for row in range(side) for column in range(side)]
    boxes = [[x0 + edges[c], y0 + edges[r], x0 + edges[c + 1], y0 + edges[r + 1]] for r, c in cells]
    return [{"source": source, "box": box, "cell": [*cell], **told} for box, cell in zip(boxes, cells, strict=True)]


def _about(sizes: Counter[tuple[int, int]], counts: np.ndarray, ipc: int | None, view: int) -> list[str]:
    """What to know of the sizes and the number of the images."""
    found = []
    if others := {size: number for size, number in sizes.items() if size != (view, view)}:
        (width, height), _ = max(others.items(), key=lambda pair: pair[1])
        found.append(f"{sum(others.values())} images, of {width} x {height} pixels, are resized to {view} x {view}")
    if (counts != ipc).any():
        each = f"{counts.min()} to {counts.max()}" if counts.min() < counts.max() else str(counts[0])
        found.append(f"{each} images per class, not ipc={ipc}, whose rules hold for it beside sets of that size")
    return found
