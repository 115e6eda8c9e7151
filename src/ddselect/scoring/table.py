"""The score table: what its shards and its merged view hold, and how they are written and read."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_table
from ddselect.runtime.shards import ShardPlan

MERGED = "scores.parquet"
MAP_SIDE = 32  # positions per side that are kept of the map that boxes are placed by: 2 KiB an image
_SCORED_SIDE = 16  # and of the one that they are scored by, a mean over many positions: half a KiB
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("image_score", pa.float32()),
        ("boxes", pa.list_(pa.int32())),  # x0, y0, x1, y1 of each box in the file's pixels, best place first
        ("scores", pa.list_(pa.float32())),  # mean difference in each box
        ("losses", pa.list_(pa.float32())),
        ("map", pa.binary()),  # what boxes are placed by, fp16, row by row, averaged down to MAP_SIDE
        ("map_side", pa.int32()),
        ("difference", pa.binary()),  # what boxes are scored by, likewise, averaged down to at most 16 x 16
    ]
)
_PLANES = ("map", "map_side", "difference")  # of the shards alone


def score_shards(folder: Path, rows: int, size: int) -> ShardPlan:
    """The shards of a score table."""
    return ShardPlan(folder, rows, size, ".parquet")


def packed(place: Tensor, difference: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What boxes are placed and scored by, each (N, h, w), as they are kept: (N, s, s) float16, averaged down."""
    side = place.shape[-1]
    sides = min(MAP_SIDE, side), side // -(-side // _SCORED_SIDE)  # the latter divides most sides
    kept = [
        F.adaptive_avg_pool2d(planes, to).half().cpu().numpy()
        for planes, to in zip((place, difference), sides, strict=True)
    ]
    return kept[0], kept[1]


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows of :data:`SCHEMA`."""
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def merge(plan: ShardPlan) -> pa.Table:
    """Writes and returns the merged view: all rows in index order, without the maps.

    Raises:
        UserError: A shard does not hold the rows it should.
    """
    columns = [name for name in SCHEMA.names if name not in _PLANES]
    tables = []
    for shard in range(len(plan)):
        try:
            table = pq.read_table(plan.path(shard), columns=columns)
        except pa.ArrowException:
            table = None
        if table is None or len(table) != len(plan.range(shard)):
            raise UserError(f"{plan.path(shard)} is damaged; remove it to score its images again")
        tables.append(table)
    merged = pa.concat_tables(tables)
    write_table(plan.folder / MERGED, merged)
    return merged


def read_scores(folder: Path) -> pa.Table:
    """The merged score table of a finished scoring stage, one row per image in index order."""
    return pq.read_table(folder / MERGED)


def read_maps(folder: Path, ids: list[str] | None = None) -> dict[str, np.ndarray]:
    """Difference maps (h, w) float32 by image id, of all images or of some."""
    wanted = None if ids is None else [("id", "in", ids)]
    maps = {}
    for path in sorted(folder.glob("shard-*.parquet")):
        table = pq.read_table(path, columns=["id", "map", "map_side"], filters=wanted)
        for row in table.to_pylist():
            flat = np.frombuffer(row["map"], dtype=np.float16).astype(np.float32)
            maps[row["id"]] = flat.reshape(row["map_side"], -1)
    return maps


def read_planes(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What boxes are placed and scored by, each (n, h, w) float32, shard by shard: in the order of the score table.

    The second was kept in fewer positions than the first where that has more than 16 per side.

    Raises:
        UserError: The shards do not hold the difference.
    """
    for path in sorted(folder.glob("shard-*.parquet")):
        if "difference" not in pq.read_schema(path).names:
            raise UserError(f"{path} holds no difference maps; remove {folder} to score its images again")
        table = pq.read_table(path, columns=list(_PLANES))
        side = table["map_side"][0].as_py()
        place, difference = (
            np.frombuffer(b"".join(table[name].to_pylist()), dtype=np.float16).astype(np.float32)
            for name in ("map", "difference")
        )
        coarse = torch.from_numpy(difference).view(len(table), 1, math.isqrt(len(difference) // len(table)), -1)
        yield place.reshape(len(table), side, -1), F.interpolate(coarse, side, mode="nearest-exact")[:, 0].numpy()


@dataclass(frozen=True)
class Crops:
    """The boxes of a score table, those of one image after those of another.

    Attributes:
        starts: (N + 1,) where each image's boxes begin among all, and the number of all.
        rows: (M,) the image of each box, as a row of the table.
        boxes: (M, 4) int32 x0, y0, x1, y1 in the files' pixels.
        scores: (M,) float32.
    """

    starts: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


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
