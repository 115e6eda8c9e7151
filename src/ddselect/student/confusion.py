"""``confusion.parquet``: what a student takes the test images of each class for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from ddselect.runtime.files import write_table

FILE = "confusion.parquet"
_COLUMNS = ("label", "predicted", "images")


def write_confusion(folder: Path, confusion: Tensor) -> None:
    """Writes the (M, 3) int64 rows of :class:`ddselect.student.accuracy.Accuracy`."""
    columns = confusion.numpy().T
    write_table(folder / FILE, pa.table(dict(zip(_COLUMNS, columns, strict=True))))


def read_confusion(folder: Path) -> np.ndarray:
    """(M, 3) int64: a class, one that its test images were taken for, and how many of them were."""
    table = pq.read_table(folder / FILE)
    return np.stack([table[name].to_numpy() for name in _COLUMNS], 1)


def class_counts(confusion: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(K,) int64 test images of each class, and (K,) int64 how many of them are taken for what they are."""
    right = confusion[confusion[:, 0] == confusion[:, 1]]
    images, hits = (np.bincount(pairs[:, 0], pairs[:, 2], classes).astype(np.int64) for pairs in (confusion, right))
    return images, hits


def class_accuracies(confusion: np.ndarray, classes: int) -> list[float | None]:
    """Top-1 in percent of each class, in class order; None for a class without test images."""
    counts = zip(*(column.tolist() for column in class_counts(confusion, classes)), strict=True)
    return [100 * right / images if images else None for images, right in counts]
