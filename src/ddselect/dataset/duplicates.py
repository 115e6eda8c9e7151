"""Images whose files have the same content: in two classes, or in the training and the test images."""

from typing import TypedDict

import numpy as np
import pyarrow as pa


class Twins(TypedDict):
    """Images that there are twice.

    Attributes:
        images: How many.
        example: Ids of the first of them.
        text: The same in words.
    """

    images: int
    example: list[str]
    text: str


def duplicates(table: pa.Table) -> dict[str, Twins]:
    """Images that lie in several classes (``classes``) or several splits (``splits``), where there are any.

    Args:
        table: The index's; images are compared by content hash.
    """
    words = {"classes": "in more than one class", "splits": "in more than one split (a leak into the test)"}
    found: dict[str, Twins] = {}
    for name, column in (("classes", "label"), ("splits", "split")):
        count, example = _shared(table["hash"], table[column], table["id"])
        if count:
            are = "image is" if count == 1 else "images are"
            text = f"{count} {are} {words[name]} (same content), such as {' and '.join(example)}"
            found[name] = {"images": count, "example": example, "text": text}
    return found


def _shared(contents: pa.ChunkedArray, places: pa.ChunkedArray, ids: pa.ChunkedArray) -> tuple[int, list[str]]:
    """How many contents are in several places, and the ids of two images of the first of these."""
    hashes = contents.to_numpy().astype("S16")
    codes = places.dictionary_encode().combine_chunks().indices.to_numpy()
    order = np.lexsort([codes, hashes])
    hashes, codes = hashes[order], codes[order]
    pairs = np.flatnonzero((hashes[1:] == hashes[:-1]) & (codes[1:] != codes[:-1]))
    if not len(pairs):
        return 0, []
    first = pairs[np.argmin(order[pairs])]
    example = sorted(int(row) for row in order[first : first + 2])
    return len(np.unique(hashes[pairs])), [ids[row].as_py() for row in example]
