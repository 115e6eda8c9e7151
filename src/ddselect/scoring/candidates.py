"""Which images are scored at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ddselect.dataset.index import Index, read_index
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import StageResult


def candidates(index: Index, cap: int, seed: int) -> Index:
    """At most ``cap`` images of each class (all for 0), in index order.

    Chosen by keys of seed and content: a smaller cap's are among a larger one's, and other images in the index change
    nothing about those that stay.
    """
    if not cap:
        return index
    hashes, labels = index.table["hash"].to_pylist(), index.labels
    keys = np.array([key64(seed, "candidate", image_hash) for image_hash in hashes])
    order = np.lexsort([keys, labels])
    first = np.searchsorted(labels[order], labels[order])  # where each one's class begins
    return index.take(np.sort(order[np.arange(len(order)) - first < cap]))


def candidate_count(images: StageResult, cap: int) -> int:
    """Images of a finished or planned index that are scored; where classes are not counted yet, the most there can be.

    Raises:
        KeyError: It is not known how many images there are.
    """
    count = int(images.facts["images"]["train"])
    if not cap:
        return count
    if "finished" not in images.manifest:
        return min(count, cap * int(images.facts["classes"]))
    labels = read_index(images.folder, Path()).split("train").labels
    return int(np.minimum(np.bincount(labels), cap).sum())


def scored_images(index: Index, table: pa.Table) -> Index:
    """The images of an index that a score table has rows for, in the table's order."""
    if len(table) == len(index):
        return index
    return index.take(pc.index_in(table["id"], index.table["id"]).to_numpy())
