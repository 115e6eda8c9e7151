"""The selection: for every class an order of crops and an order of whole images, best first."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_table

FILE = "selection.parquet"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("kind", pa.string()),  # crop or image
        ("x0", pa.int32()),  # box in the file's pixels, end exclusive
        ("y0", pa.int32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("score", pa.float32()),
        ("cluster", pa.int32()),  # -1 where the method does not cluster
        ("rank", pa.int32()),  # from 0 within class and kind: the first k are the selection for a smaller IPC
    ]
)


@dataclass(frozen=True)
class Candidates:
    """Candidates of one class and kind."""

    rows: np.ndarray  # (N,) row numbers in the index
    boxes: np.ndarray  # (N, 4) int32 x0, y0, x1, y1 in the files' pixels
    scores: np.ndarray  # (N,) float32, larger is better

    def take(self, picks: np.ndarray) -> "Candidates":
        """Some of the candidates, in the given order."""
        return Candidates(self.rows[picks], self.boxes[picks], self.scores[picks])


def ranked(candidates: Candidates, clusters: np.ndarray, index: Index, label: int, kind: str) -> pa.Table:
    """Rows of the selection table for candidates that are in order already."""
    count = len(candidates.rows)
    columns = {
        "id": index.table["id"].take(pa.array(candidates.rows)).combine_chunks(),
        "label": np.full(count, label),
        "kind": [kind] * count,
        **{name: candidates.boxes[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))},
        "score": candidates.scores.astype(np.float32),
        "cluster": clusters.astype(np.int32),
        "rank": np.arange(count, dtype=np.int32),
    }
    return pa.table(columns, schema=SCHEMA)


def write_selection(folder: Path, parts: list[pa.Table]) -> dict[str, object]:
    """Writes ``selection.parquet`` and returns how many crops and images it ranks."""
    table = pa.concat_tables(parts)
    write_table(folder / FILE, table)
    return {kind: int(pc.sum(pc.equal(table["kind"], kind)).as_py() or 0) for kind in ("crop", "image")}


def read_selection(folder: Path) -> pa.Table:
    """The table of a finished selection."""
    return pq.read_table(folder / FILE)


def first(table: pa.Table, label: int, kind: str, count: int, class_name: str) -> list[dict[str, object]]:
    """The first ``count`` rows of a class and kind, or all where there are fewer.

    Raises:
        UserError: There are none, and some are asked for.
    """
    if count == 0:
        return []
    mine = pc.and_(pc.equal(table["label"], label), pc.equal(table["kind"], kind))
    rows = table.filter(pc.and_(mine, pc.less(table["rank"], count))).sort_by("rank").to_pylist()
    if not rows:
        raise UserError(f"class '{class_name}' has no candidates of kind {kind} in this selection, {count} are needed")
    return rows
