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

from ddselect.composition.distilled import DISTILLED
from ddselect.dataset.images import source_to_view
from ddselect.dataset.index import Index
from ddselect.evaluation.localisation import true_boxes
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.maps import read_maps
from ddselect.scoring.table import read_scores

_MOST = 100  # images of a gallery; W&B drops those beyond 108
_CLASSES, _PER_CLASS = 20, 10  # evenly spread ones, if there are more
_QUANTILES = {"highest": 1.0, "median": 0.5, "lowest": 0.0}  # of a class's scores, whose images show their maps
_SIDE = 160  # pixels, of training images
_COLOURS = "RdBu_r"  # matplotlib's name; its red and blue differ for colour-blind readers too
_CLIPPED = 0.99  # share of the positions within the ends of the colour scale
Boxes = Mapping[str, np.ndarray]  # groups by name: (N, 4) x0, y0, x1, y1 in shares of the image's sides
Entries = Sequence[Mapping[str, Any]]  # of ``metadata.jsonl``, or patches of it


def heat_maps(
    index: Index, scores: Path, maps: Path, prediction_shift_weight: float, view: int
) -> dict[str, list[wandb.Image]]:
    """Difference maps of some training images of each class shown, and these images with their boxes.

    The highest scores alone would show the method at its best, so ordinary ones are beside them.

    ``scores`` is the folder of boxes and scores, ``maps`` that of the finished scoring, ``prediction_shift_weight``
    that of the boxes, ``view`` the side in pixels of the square view.
    """
    table = read_scores(scores)
    index, values = scored_images(index, table), table["image_score"].to_numpy()
    chosen = []
    for label in _shown(index.class_names):
        members = np.flatnonzero(index.labels == label)
        order = members[np.argsort(values[members], kind="stable")]
        chosen += [(name, int(order[round(q * (len(order) - 1))])) for name, q in _QUANTILES.items() if len(order)]
    rows = np.array([row for _, row in chosen], dtype=np.int64)
    images, truth = index.take(rows), true_boxes(index.take(rows))
    planes = read_maps(maps, images.ids, prediction_shift_weight)
    scale = float(np.quantile(np.abs(np.concatenate([plane.ravel() for plane in planes.values()])), _CLIPPED)) or 1.0
    found: dict[str, list[wandb.Image]] = {"heat_maps": [], "boxes": []}
    for place, (name, row) in enumerate(chosen):
        score, path = f"{name} score {values[row]:.3g}", images.ids[place]
        caption = f"{index.class_names[index.labels[row]]}, {score}: {path}"
        boxes = {"candidate": _in_view(np.array(table["boxes"][row].as_py()).reshape(-1, 4), images, place)}
        boxes |= {} if truth is None else {"true box": _in_view(truth[place : place + 1], images, place)}
        found["heat_maps"].append(wandb.Image(_coloured(planes[path] / scale), caption=caption))
        found["boxes"].append(_boxed(_view(images, place, view), caption, boxes))
    return found


def distilled_images(folder: Path, entries: Entries, class_names: list[str]) -> list[wandb.Image]:
    """The first distilled images of each class shown, with the cells of their patches."""
    found = []
    for entry in _first(entries, class_names):
        side = isqrt(len(entry["patches"]))
        cells = np.array([patch["cell"][::-1] for patch in entry["patches"]]) / side
        caption = "\n".join([entry["class"], *(_origin(patch) for patch in entry["patches"])])
        boxes = {"patch": np.concatenate([cells, cells + 1 / side], 1)} if side > 1 else {}
        found.append(_boxed(str(folder / DISTILLED / entry["file_name"]), caption, boxes))
    return found


def picked_patches(index: Index, entries: Entries, view: int) -> list[wandb.Image]:
    """The source images of the first patches of each class shown, with the boxes that were cut out."""
    patches = [{"class": entry["class"], "label": entry["label"], **p} for entry in entries for p in entry["patches"]]
    patches.sort(key=lambda patch: (patch["kind"] != "crop", patch["rank"]))  # crops first
    chosen = _first(patches, index.class_names)
    rows = pc.index_in(pa.array([patch["source"] for patch in chosen]), index.table["id"]).to_pylist()
    found = []
    for row, patch in zip(rows, chosen, strict=True):
        box = _in_view(np.array([patch["box"]]), index, row)
        found.append(_boxed(_view(index, row, view), _origin(patch), {patch["kind"]: box}))
    return found


def _origin(patch: Mapping[str, Any]) -> str:
    cluster = f", centre or cluster {patch['cluster']}" if patch["cluster"] >= 0 else ""
    own = f"{patch['class']}, " if "class" in patch else ""  # of picked patches, and where classes are mixed
    return f"{own}rank {patch['rank'] + 1}, score {patch['score']:.3g}{cluster}: {patch['source']} {patch['box']}"


def _shown(class_names: Sequence[str]) -> list[int]:
    count = len(class_names)
    return list(range(count)) if count <= _CLASSES else [i * count // _CLASSES for i in range(_CLASSES)]


def _first(items: Entries, class_names: Sequence[str]) -> list[Mapping[str, Any]]:
    """The first items of each class shown."""
    by_class: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        by_class[item["label"]].append(item)
    shown = _shown(class_names)
    return [item for label in shown for item in by_class[label][: min(_PER_CLASS, _MOST // len(shown))]]


def _view(index: Index, row: int, view: int) -> np.ndarray:
    """The square view of an image, (S, S, 3) uint8."""
    return index.read(row, min(view, _SIDE)).permute(1, 2, 0).numpy()


def _in_view(boxes: np.ndarray, index: Index, row: int) -> np.ndarray:
    """Boxes (N, 4) in an image's pixels as shares of its square view."""
    return source_to_view(boxes, *index.sizes_at(row), 1).clip(0, 1)


def _coloured(values: np.ndarray) -> np.ndarray:
    """(h, w) values, where the scale reaches from -1 to 1, as (h, w, 3) uint8: red above 0, blue below."""
    from matplotlib import colormaps

    return colormaps[_COLOURS](values.clip(-1, 1) / 2 + 0.5, bytes=True)[..., :3]


def _boxed(image: str | np.ndarray, caption: str, boxes: Boxes) -> wandb.Image:
    """An image (a path, or (H, W, 3) uint8) with groups of boxes."""
    groups = {}
    for number, (name, corners) in enumerate(boxes.items()):
        positions = [dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True)) for box in corners.tolist()]
        data = [{"position": position, "class_id": number, "box_caption": name} for position in positions]
        groups[name.replace(" ", "_")] = {"box_data": data, "class_labels": {number: name}}
    return wandb.Image(image, caption=caption, boxes=groups or None)
