"""How well cheap scores stand in for expensive ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ddselect.scoring.table import read_scores

SELECTED = 0.2  # share of each class that counts as selected


@dataclass(frozen=True)
class Agreement:
    """How far two scorings of the same images agree; 1 is the most for each.

    Attributes:
        recall: Share of the best fifth of each class's crops by the first scoring that the second one has among its
            own best fifth, at nearly the same place (intersection over union of 0.5 or more).
    """

    crops: float  # Spearman correlation of the best crops' scores within a class, mean over classes
    images: float  # that of the whole images' scores
    recall: float
    overlap: float  # mean intersection over union of the images' best boxes

    def relative_to(self, ceiling: "Agreement") -> "Agreement":
        """Each as a share of another agreement's, that of two expensive scorings; 0 where those do not agree at all."""
        shares = {
            name: value / most if (most := vars(ceiling)[name]) > 0 else 0.0 for name, value in vars(self).items()
        }
        return Agreement(**shares)

    @property
    def least(self) -> float:
        """The smallest of them."""
        return float(min(vars(self).values()))


def agreement(first: Path, second: Path) -> Agreement:
    """Agreement of the scorings in two folders.

    The first one is what others are measured against.

    Raises:
        ValueError: They are of different images.
    """
    one, two = read_scores(first), read_scores(second)
    if one["id"] != two["id"]:
        raise ValueError(f"{first} and {second} hold scores of different images")
    labels = one["label"].to_numpy()
    crop, other_crop = _best(one["scores"]), _best(two["scores"])
    overlaps = intersection_over_union(_best_boxes(one), _best_boxes(two))
    return Agreement(
        crops=_within_classes(labels, crop, other_crop),
        images=_within_classes(labels, one["image_score"].to_numpy(), two["image_score"].to_numpy()),
        recall=_recall(labels, crop, other_crop, overlaps),
        overlap=float(overlaps.mean()),
    )


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of boxes (N, 4) x0, y0, x1, y1 and others (N, 4)."""
    width = np.minimum(first[:, 2], second[:, 2]) - np.maximum(first[:, 0], second[:, 0])
    height = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1])
    common = width.clip(0) * height.clip(0)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (first, second)]
    return common / (areas[0] + areas[1] - common)


def _best(scores: pa.ChunkedArray) -> np.ndarray:
    """The first score of each row."""
    return np.array([row[0] for row in scores.to_pylist()], dtype=np.float64)


def _best_boxes(table: pa.Table) -> np.ndarray:
    """(N, 4) the first box of each row."""
    return np.array([row[:4] for row in table["boxes"].to_pylist()], dtype=np.float64)


def _within_classes(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean Spearman correlation within the classes that have more than one image."""
    from scipy.stats import spearmanr  # a second to import

    classes = [labels == label for label in np.unique(labels) if (labels == label).sum() > 1]
    return float(np.mean([spearmanr(first[mine], second[mine]).statistic for mine in classes]))


def _recall(labels: np.ndarray, first: np.ndarray, second: np.ndarray, overlaps: np.ndarray) -> float:
    found = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        count = max(1, round(SELECTED * len(mine)))
        wanted, got = (mine[np.argsort(-scores[mine], kind="stable")[:count]] for scores in (first, second))
        found.append(np.isin(wanted, got) & (overlaps[wanted] >= 0.5))
    return float(np.concatenate(found).mean())
