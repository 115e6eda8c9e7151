"""How well difference maps find the object, where its true box is known: for evaluation only."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ddselect.dataset.images import source_to_view
from ddselect.dataset.index import Index
from ddselect.dataset.scenes import BOXES
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.maps import read_maps
from ddselect.scoring.table import read_scores


def smooth3(maps: np.ndarray) -> np.ndarray:
    """(N, h, w) maps averaged over 3 x 3 neighbourhoods; at the border over what is there."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    ones = np.pad(np.ones_like(maps[:1]), ((0, 0), (1, 1), (1, 1)))
    height, width = maps.shape[1:]
    shifts = [(slice(None), slice(y, y + height), slice(x, x + width)) for y in range(3) for x in range(3)]
    return np.stack([padded[s] for s in shifts]).sum(0) / np.stack([ones[s] for s in shifts]).sum(0)


def pointing_game(maps: np.ndarray, boxes: np.ndarray, view: int) -> np.ndarray:
    """(N,) bool: whether the maximum of the smoothed map lies in the true box (Zhang et al. 2018).

    Maps are (N, h, w) of square views, ``view`` pixels a side, and the true boxes (N, 4) in their pixels.
    """
    side = maps.shape[-1]
    peak = smooth3(maps).reshape(len(maps), -1).argmax(1)
    x, y = (peak % side + 0.5) * view / side, (peak // side + 0.5) * view / side
    return (x >= boxes[:, 0]) & (x < boxes[:, 2]) & (y >= boxes[:, 1]) & (y < boxes[:, 3])


def coverage(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) share of each true box (N, 4) that a box (N, 4) covers."""
    width = np.minimum(boxes[:, 2], truth[:, 2]) - np.maximum(boxes[:, 0], truth[:, 0])
    height = np.minimum(boxes[:, 3], truth[:, 3]) - np.maximum(boxes[:, 1], truth[:, 1])
    area = (truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1])
    return width.clip(0) * height.clip(0) / area


def true_boxes(index: Index) -> np.ndarray | None:
    """(N, 4) true boxes of an index's images in their pixels; None if the dataset, or one of the images, has none."""
    path = index.root / BOXES
    if not path.exists():
        return None
    table = pq.read_table(path)
    columns = np.stack([table[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], 1)
    rows = dict(zip(table["path"].to_pylist(), range(len(table)), strict=True))
    return columns[[rows[image] for image in index.ids]] if rows.keys() >= {*index.ids} else None


def measure_localisation(
    index: Index, scores: Path, maps: Path, prediction_shift_weight: float, view: int
) -> dict[str, float] | None:
    """Pointing game (percent) and mean coverage of the true box by the best crop, with what chance gives.

    None if there are no true boxes. ``scores`` is the folder of boxes and scores, ``maps`` that of the finished
    scoring, ``prediction_shift_weight`` that of the boxes, ``view`` the side in pixels of the square view.
    """
    if not (index.root / BOXES).exists():
        return None
    table = read_scores(scores)
    index = scored_images(index, table)
    truth = true_boxes(index)
    if truth is None:
        return None
    planes = read_maps(maps, None, prediction_shift_weight)
    best = np.array([boxes[:4] for boxes in table["boxes"].to_pylist()])
    in_view = np.stack(
        [source_to_view(t, int(s[0]), int(s[1]), view) for t, s in zip(truth, index.sizes(), strict=True)]
    )
    hits = pointing_game(np.stack([planes[image] for image in index.ids]), in_view, view)
    area = (in_view[:, 2] - in_view[:, 0]) * (in_view[:, 3] - in_view[:, 1])
    return {
        "images": len(index),
        "pointing_game": round(100 * float(hits.mean()), 2),
        "pointing_game_chance": round(100 * float(area.mean()) / view**2, 2),
        "coverage": round(float(coverage(best, truth).mean()), 4),
        "coverage_chance": round(float(_random_coverage(index, truth, best)), 4),
    }


def _random_coverage(index: Index, truth: np.ndarray, best: np.ndarray, draws: int = 20) -> float:
    """Mean coverage by boxes of the same sizes at random places."""
    random = np.random.default_rng(0)
    sides = (best[:, 2:] - best[:, :2]).astype(np.int64)
    shares = []
    for _ in range(draws):
        corner = random.integers(0, index.sizes() - sides + 1)
        shares.append(coverage(np.concatenate([corner, corner + sides], 1), truth).mean())
    return float(np.mean(shares))
