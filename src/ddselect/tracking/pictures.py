"""Galleries for W&B: difference maps, distilled images with their patches, and where these come from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import wandb

from ddselect.composition.compose import DISTILLED
from ddselect.dataset.images import source_to_view
from ddselect.dataset.index import Index
from ddselect.report.gallery import provenance
from ddselect.report.maps import build_maps
from ddselect.report.pictures import picture_of, shown_classes, thumbnail_size

_MOST = 100  # images of a gallery; W&B drops those beyond 108
Corners = tuple[float, float, float, float]  # x0, y0, x1, y1 in shares of the image's sides
Entries = Sequence[Mapping[str, Any]]  # of ``metadata.jsonl``


def heat_maps(index: Index, scores: Path, view: int, per_class: int) -> dict[str, list[wandb.Image]]:
    """Maps of some training images of each class, and the maps over the images with the best boxes.

    Args:
        index: The images that are selected from.
        scores: Folder of the finished scoring stage.
        view: Side in pixels of the square view.
        per_class: Images per class.
    """
    maps = build_maps(index, scores, view, min(per_class, _per_class(index.class_names)))
    if maps is None:
        return {}
    found: dict[str, list[wandb.Image]] = {"heat_maps": [], "boxes": []}
    for name, examples in maps.rows:
        for example in examples:
            caption = f"{name}, {example.place}, score {example.score:.3g}: {example.path}"
            boxes = {"candidates": [_corners(box) for box in example.boxes]}
            boxes |= {"true box": [_corners(example.truth)]} if example.truth else {}
            found["heat_maps"].append(wandb.Image(picture_of(example.heat), caption=caption))
            found["boxes"].append(_boxed(picture_of(example.overlay), caption, boxes))
    return found


def distilled_images(folder: Path, entries: Entries, class_names: list[str], per_class: int) -> list[wandb.Image]:
    """The first distilled images of each class shown, with the cells of their patches.

    Args:
        folder: Of the finished composition.
        entries: Its metadata.
        class_names: Names of the classes.
        per_class: Images per class.
    """
    found = []
    for entry in _first(entries, class_names, per_class):
        side = isqrt(len(entry["patches"]))
        cells = [(c / side, r / side, (c + 1) / side, (r + 1) / side) for r, c in (p["cell"] for p in entry["patches"])]
        caption = f"{entry['class']}\n{provenance(dict(entry))}"
        boxes = {"patches": cells} if side > 1 else {}
        found.append(_boxed(str(folder / DISTILLED / entry["file_name"]), caption, boxes))
    return found


def picked_patches(index: Index, entries: Entries, view: int, per_class: int) -> list[wandb.Image]:
    """The source images of the best patches of each class shown, with the boxes that were cut out.

    Args:
        index: The images that are selected from.
        entries: Metadata of a composition.
        view: Side in pixels of the square view.
        per_class: Patches per class.
    """
    patches = [{"label": entry["label"], **patch} for entry in entries for patch in entry["patches"]]
    patches.sort(key=lambda patch: (patch["kind"] != "crop", patch["rank"]))  # crops first
    chosen = _first(patches, index.class_names, per_class)
    rows = pc.index_in(pa.array([patch["source"] for patch in chosen]), index.table["id"].combine_chunks()).to_pylist()
    found = []
    for row, patch in zip(rows, chosen, strict=True):
        pixels = index.read(row, thumbnail_size(view)).permute(1, 2, 0).numpy()
        x0, y0, x1, y1 = source_to_view(np.array([patch["box"]]), *index.sizes_at(row), 1)[0].clip(0, 1).tolist()
        place = f"rank {patch['rank'] + 1}, score {patch['score']:.3g}, cluster {patch['cluster']}"
        caption = f"{index.class_names[patch['label']]}, {place}: {patch['source']}"
        found.append(_boxed(pixels, caption, {patch["kind"]: [(x0, y0, x1, y1)]}))
    return found


def _per_class(class_names: Sequence[str]) -> int:
    """Images of each class shown that a gallery has room for."""
    return _MOST // len(shown_classes(len(class_names)))


def _first(items: Entries, class_names: Sequence[str], per_class: int) -> list[Mapping[str, Any]]:
    """The first items of each class shown."""
    by_class: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        by_class[item["label"]].append(item)
    count = min(per_class, _per_class(class_names))
    return [item for label in shown_classes(len(class_names)) for item in by_class[label][:count]]


def _corners(rectangle: tuple[float, float, float, float]) -> Corners:
    x, y, width, height = rectangle
    return x, y, x + width, y + height


def _boxed(image: Any, caption: str, boxes: Mapping[str, Sequence[Corners]]) -> wandb.Image:
    """An image (a path, PIL's, or (H, W, 3) uint8) with named groups of boxes."""
    groups = {}
    for number, (name, corners) in enumerate(boxes.items()):
        positions = [{"minX": x0, "maxX": x1, "minY": y0, "maxY": y1} for x0, y0, x1, y1 in corners]
        data = [{"position": position, "class_id": number, "box_caption": name} for position in positions]
        groups[name.replace(" ", "_")] = {"box_data": data, "class_labels": {number: name}}
    return wandb.Image(image, caption=caption, boxes=groups or None)
