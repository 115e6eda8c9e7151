"""The selection table and reading the first of it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.selection.table import SCHEMA, Candidates, first, ranked, read_selection, write_selection

INDEX = Index(Path(), [], [], pa.table({"id": [f"image{i}" for i in range(5)]}))


def part(order: list[int], label: int, kind: str) -> pa.Table:
    """Rows in an order; the box of row i starts at (i, 2 i)."""
    rows = np.arange(5)
    boxes = np.stack([rows, 2 * rows, rows + 4, 2 * rows + 4], 1).astype(np.int32)
    candidates = Candidates(rows, boxes, rows.astype(np.float32) / 10).take(np.array(order))
    return ranked(candidates, np.array(order) + 100, INDEX, label, kind)


def test_rows_keep_the_given_order() -> None:
    table = part([3, 0, 4], 7, "crop")
    assert table.schema == SCHEMA
    assert table.to_pylist()[0] == {
        "id": "image3", "label": 7, "kind": "crop", "x0": 3, "y0": 6, "x1": 7, "y1": 10,
        "score": pytest.approx(0.3), "cluster": 103, "rank": 0,
    }  # fmt: skip
    assert table["id"].to_pylist() == ["image3", "image0", "image4"]
    assert table["rank"].to_pylist() == [0, 1, 2]


def test_first_rows_of_a_class_and_kind(tmp_path: Path) -> None:
    facts = write_selection(tmp_path, [part([3, 0, 4], 0, "crop"), part([1, 2], 0, "image"), part([2], 1, "crop")])
    assert facts == {"crop": 4, "image": 2}
    table = read_selection(tmp_path)
    shuffled = table.take(pa.array([5, 2, 0, 4, 1, 3]))
    for t in (table, shuffled):
        assert [row["id"] for row in first(t, 0, "crop", 2, "ant")] == ["image3", "image0"]
        assert [row["id"] for row in first(t, 0, "image", 2, "ant")] == ["image1", "image2"]
        assert [row["id"] for row in first(t, 1, "crop", 1, "bee")] == ["image2"]
    assert first(table, 1, "image", 0, "bee") == []


def test_fewer_candidates_than_asked_for_are_all_given_and_none_is_a_mistake() -> None:
    table = part([3, 0, 4], 0, "crop")
    assert [row["id"] for row in first(table, 0, "crop", 9, "ant")] == ["image3", "image0", "image4"]
    with pytest.raises(UserError, match="class 'ant' has no candidates of kind image in this selection, 2 are needed"):
        first(table, 0, "image", 2, "ant")
