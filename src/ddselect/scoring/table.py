"""The score table that selections read: boxes and scores, by the prior or by the teacher."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddselect.runtime.files import write_table
from ddselect.runtime.shards import ShardPlan

MERGED = "scores.parquet"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("image_score", pa.float32()),
        ("boxes", pa.list_(pa.int32())),  # x0, y0, x1, y1 of each box in the file's pixels, best place first
        ("scores", pa.list_(pa.float32())),  # of each box, larger is better
    ]
)


def score_shards(folder: Path, rows: int) -> ShardPlan:
    """The shards of a score table that is made image by image."""
    return ShardPlan(folder, rows, 2000, ".parquet")


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows of :data:`SCHEMA`."""
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def merge(plan: ShardPlan) -> pa.Table:
    """Writes and returns the merged view: all rows in index order."""
    merged = pa.concat_tables([pq.read_table(plan.path(shard)) for shard in range(len(plan))])
    write_table(plan.folder / MERGED, merged)
    return merged


def read_scores(folder: Path) -> pa.Table:
    """The merged score table of a folder, one row per image in index order."""
    return pq.read_table(folder / MERGED)


@dataclass(frozen=True)
class Crops:
    """The boxes of a score table, those of one image after those of another."""

    starts: np.ndarray  # (N + 1,) where each image's boxes begin among all, and the number of all
    rows: np.ndarray  # (M,) the image of each box, as a row of the table
    boxes: np.ndarray  # (M, 4) int32 x0, y0, x1, y1 in the files' pixels
    scores: np.ndarray  # (M,) float32


def crops_of(table: pa.Table) -> Crops:
    """The boxes of a score table."""
    scores, corners = (table[name].combine_chunks() for name in ("scores", "boxes"))
    counts = pc.list_value_length(scores).to_numpy().astype(np.int64)
    return Crops(
        starts=np.concatenate([[0], np.cumsum(counts)]),
        rows=np.repeat(np.arange(len(table)), counts),
        boxes=corners.flatten().to_numpy().reshape(-1, 4),
        scores=scores.flatten().to_numpy(),
    )
