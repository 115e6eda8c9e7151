"""Selected patches and images become distilled images, with their provenance."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from ddselect.composition.distilled import DISTILLED, METADATA
from ddselect.composition.repeats import Patch, endless, tell_repeats
from ddselect.dataset.images import cut_image
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_text
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import numpy_generator
from ddselect.selection.table import first

VERSION = 3
_FACTS = ("kind", "score", "cluster", "rank")  # of a patch, beside where it comes from


@dataclass(frozen=True)
class Composition:
    """How the distilled images of a class are filled."""

    factor: int  # a stitched image holds factor x factor crops
    whole: float  # share of the images that are whole images; the others are stitched
    mix_classes: bool = False  # whether the crops of a stitched image are of different classes

    def is_whole(self, slot: int) -> bool:
        """Whether the image in this place of a class is a whole one: evenly spread, and the same for every IPC."""
        share = Fraction(self.whole).limit_denominator(1000)
        return int(share * (slot + 1)) > int(share * slot)

    def count_whole(self, ipc: int) -> int:
        """Number of whole images among ``ipc``."""
        return sum(1 for slot in range(ipc) if self.is_whole(slot))


def check_factor(factor: int, view: int) -> None:
    """Refuses images of a side in pixels that cannot be stitched from factor x factor crops.

    Raises:
        UserError: The factor does not divide it.
    """
    if view % factor:
        raise UserError(f"composition.factor={factor} does not divide the image size {view}")


def slots(
    table: pa.Table,
    composition: Composition,
    label: int,
    name: str,
    ipc: int | None,
    more: Callable[[list[Patch]], Iterator[Patch]],
) -> Iterator[list[Patch]]:
    """The patches of each distilled image of a class, in order; IPC None takes every image.

    ``more`` gives rows that go on where those of the table end.

    Raises:
        UserError: The class has no candidates.
    """
    if ipc is None:
        for row in table.to_pylist():
            if row["label"] == label and row["kind"] == "image":
                yield [row]
        return
    whole = composition.count_whole(ipc)
    cells = composition.factor**2
    images = more(first(table, label, "image", whole, name))
    crops = more(first(table, label, "crop", (ipc - whole) * cells, name))
    for slot in range(ipc):
        yield [next(images)] if composition.is_whole(slot) else [next(crops) for _ in range(cells)]


def mixed(images: list[list[list[Patch]]], seed: int) -> list[list[list[Patch]]]:
    """The same crops, dealt so that those of a stitched image are of different classes, as far as there are as many.

    Of the images in the same place of all classes, crop 0 stays where it is, and crop k goes to the image of the class
    that is some classes before its own, the same number for all. So every image is filled, with crops of the ranks that
    it had before, and a smaller IPC is the beginning of a larger one.

    Images are, by class, the patches of each image (:func:`slots`). The seed's numbers are drawn anew for every place.
    """
    classes, found = len(images), [list(filled) for filled in images]
    for slot, first_one in enumerate(images[0]):
        if first_one[0]["kind"] == "image":
            continue
        random = numpy_generator(seed, "classes", slot)
        others = 1 + random.permutation(max(classes - 1, 1))
        away = [0, *np.resize(others, len(first_one) - 1).tolist()]
        for label in range(classes):
            found[label][slot] = [images[(label + way) % classes][slot][k] for k, way in enumerate(away)]
    return found


def compose(
    index: Index,
    table: pa.Table,
    composition: Composition,
    ipc: int | None,
    view: int,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Writes ``<folder>/distilled/<class>/<number>.png`` and ``metadata.jsonl``.

    Crops of consecutive ranks share an image, and a keyed permutation deals them to its quadrants, so that no quadrant
    always holds the best one; see :func:`mixed` for crops of different classes. Where a class has fewer candidates than
    places, they are repeated: see :func:`endless`.

    ``view`` is the side in pixels of a distilled image; an IPC of None takes every training image.

    Raises:
        UserError: A class has no candidates, or the factor does not divide the size.
    """
    factor = composition.factor
    check_factor(factor, view)
    root = folder / DISTILLED
    lines: list[dict[str, Any]] = []
    table = table.append_column("row", pc.index_in(table["id"], index.table["id"]))
    total = len(index) if ipc is None else ipc * len(index.class_names)

    def more(rows: list[Patch]) -> Iterator[Patch]:
        known = {patch["id"]: patch["row"] for patch in rows}
        return endless(rows, lambda image: index.sizes_at(known[image]), seed)

    names = index.class_names
    filled = (slots(table, composition, label, name, ipc, more) for label, name in enumerate(names))
    with counting("composition", total, "images") as counter:
        images = mixed(list(map(list, filled)), seed) if composition.mix_classes else filled
        for label, (class_folder, name, its) in enumerate(zip(index.class_folders, names, images, strict=True)):
            (root / class_folder).mkdir(parents=True, exist_ok=True)
            for slot, patches in enumerate(its):
                side = 1 if len(patches) == 1 and patches[0]["kind"] == "image" else factor
                cells = numpy_generator(seed, "cells", label, slot).permutation(side**2)
                canvas = torch.zeros(3, view, view, dtype=torch.uint8)
                provenance: list[dict[str, Any]] = []
                for patch, cell in zip(patches, cells.tolist(), strict=True):
                    box = (patch["x0"], patch["y0"], patch["x1"], patch["y1"])
                    row, column, size = cell // side, cell % side, view // side
                    pixels = cut_image(index.decode(patch["row"]), box, size)
                    canvas[:, row * size : (row + 1) * size, column * size : (column + 1) * size] = pixels
                    facts = {**{key: patch[key] for key in _FACTS}, "repeat": patch.get("repeat", "")}
                    if composition.mix_classes:
                        facts |= {"label": patch["label"], "class": names[patch["label"]]}
                    provenance.append({"source": patch["id"], "box": list(box), "cell": [row, column], **facts})
                file = f"{class_folder}/{slot:05d}.png"
                Image.fromarray(canvas.permute(1, 2, 0).numpy()).save(root / file, compress_level=1)
                lines.append({"file_name": file, "label": label, "class": name, "patches": provenance})
                counter.advance()
    write_text(root / METADATA, "".join(json.dumps(line) + "\n" for line in lines))
    size = sum((root / str(line["file_name"])).stat().st_size for line in lines)
    return {"images": len(lines), "image_bytes": size, **tell_repeats(lines)}
