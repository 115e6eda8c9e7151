"""Difference maps of some training images: the image, the heat map, and both with the boxes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddselect.dataset.images import source_to_view
from ddselect.dataset.index import Index
from ddselect.evaluation.localisation import smooth3, true_boxes
from ddselect.report.pictures import inline_array, shown_classes, thumbnail_size
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.table import read_maps, read_scores

_COLOURS = "RdBu_r"  # matplotlib's name; diverging, and its red and blue differ for colour-blind readers too
_CLIPPED = 0.01  # share of the positions beyond the ends of the colour scale
Rectangle = tuple[float, float, float, float]  # x, y, width, height in shares of the view's side


@dataclass(frozen=True)
class Example:
    """A training image with its map.

    Attributes:
        path: Path of the image in its dataset.
        place: Where its score lies within its class, in words.
        score: Its image score.
        image: Data URI of the square view.
        heat: Data URI of the map in the colours of the scale.
        overlay: Data URI of the smoothed map over the image in grey.
        boxes: The boxes with the highest scores, best first.
        truth: The true box, where known.
    """

    path: str
    place: str
    score: float
    image: str
    heat: str
    overlay: str
    boxes: list[Rectangle]
    truth: Rectangle | None


@dataclass(frozen=True)
class Maps:
    """The maps of the page.

    Attributes:
        rows: Class name and examples of each class shown.
        scale: Difference at the ends of the heat maps' colour scale; the overlays' is that of the smoothed maps.
        colours: Colours of the scale from its low to its high end, as CSS.
        has_truth: Whether the dataset has true boxes.
    """

    rows: list[tuple[str, list[Example]]]
    scale: float
    colours: list[str]
    has_truth: bool


def picked_quantiles(count: int) -> list[float]:
    """Quantiles of the image score that ``count`` examples of a class are taken at, highest first.

    The highest alone would show the method at its best only, so an ordinary one (the median) comes before a second high
    one, and from three on the lowest is among them.
    """
    return {1: [0.5], 2: [1.0, 0.5]}.get(count, [float(q) for q in np.linspace(1, 0, count)])


def pick(scores: np.ndarray, count: int) -> list[tuple[int, float]]:
    """Positions in ``scores`` (N,) at :func:`picked_quantiles`, each with its quantile; fewer if N is small."""
    order = np.argsort(scores, kind="stable")
    picks = {int(order[round(q * (len(order) - 1))]): q for q in reversed(picked_quantiles(count))}
    return list(reversed(picks.items()))


def build_maps(index: Index, scores: Path, view: int, per_class: int, folder: Path | None = None) -> Maps | None:
    """Maps of ``per_class`` images of each class shown; None if there are none to show.

    Args:
        index: The training images.
        scores: Folder of boxes and scores.
        view: Side in pixels of the square view that students are trained on.
        per_class: Images per class.
        folder: Folder of the difference maps; None if they lie with the scores.
    """
    if not per_class:
        return None
    table = read_scores(scores)
    index = scored_images(index, table)
    labels, truth = index.labels, true_boxes(index)
    values = table["image_score"].to_numpy()
    chosen: dict[int, list[tuple[int, float]]] = {}
    for label in shown_classes(len(index.class_names)):
        members = np.flatnonzero(labels == label)
        chosen[label] = [(int(members[place]), q) for place, q in pick(values[members], per_class)]
    ids = index.table["id"]
    wanted = [ids[row].as_py() for picks in chosen.values() for row, _ in picks]
    maps = read_maps(folder or scores, wanted)
    smooth = {image: smooth3(plane[None])[0] for image, plane in maps.items()}
    scale, smooth_scale = _scale(maps), _scale(smooth)

    def example(row: int, quantile: float) -> Example:
        size, path = thumbnail_size(view), ids[row].as_py()
        pixels = index.read(row, size).permute(1, 2, 0).numpy()
        boxes = np.array(table["boxes"][row].as_py(), dtype=np.float64).reshape(-1, 4)
        return Example(
            path=path,
            place={1.0: "highest", 0.5: "median", 0.0: "lowest"}.get(quantile, f"{quantile:.0%} quantile"),
            score=float(values[row]),
            image=inline_array(pixels),
            heat=inline_array(_coloured(maps[path] / scale)),
            overlay=inline_array(_overlay(pixels, smooth[path] / smooth_scale)),
            boxes=[_rectangle(box, index.sizes_at(row)) for box in boxes],
            truth=None if truth is None else _rectangle(truth[row], index.sizes_at(row)),
        )

    rows = [(index.class_names[label], [example(*picked) for picked in picks]) for label, picks in chosen.items()]
    ramp = [f"rgb({r} {g} {b})" for r, g, b in _coloured(np.linspace(-1, 1, 11)[None])[0]]
    return Maps(rows, scale, ramp, truth is not None)


def _scale(planes: dict[str, np.ndarray]) -> float:
    """The absolute value that all but a few positions stay below."""
    return float(np.quantile(np.abs(np.concatenate([plane.ravel() for plane in planes.values()])), 1 - _CLIPPED)) or 1.0


def _rectangle(box: np.ndarray, size: tuple[int, int]) -> Rectangle:
    """A box in the file's pixels as shares of the square view."""
    x0, y0, x1, y1 = source_to_view(box[None], *size, 1)[0].tolist()
    return x0, y0, x1 - x0, y1 - y0


def _coloured(values: np.ndarray) -> np.ndarray:
    """(h, w) values, where the scale reaches from -1 to 1, as (h, w, 3) uint8."""
    from matplotlib import colormaps

    colours: np.ndarray = colormaps[_COLOURS](values.clip(-1, 1) / 2 + 0.5, bytes=True)[..., :3]
    return colours


def _overlay(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The map over the image in grey: red above 0, blue below, covering the more, the further a value is from it."""
    from PIL import Image

    size = (pixels.shape[1], pixels.shape[0])
    plane = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    larger = np.asarray(plane).clip(-1, 1)
    grey = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    cover = 0.85 * np.abs(larger)[..., None]
    mixed: np.ndarray = (cover * _coloured(0.8 * np.sign(larger)) + (1 - cover) * grey).round().astype(np.uint8)
    return mixed
