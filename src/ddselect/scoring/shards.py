"""Shards of the score table: which rows belong to which, which are missing, and how they are written and read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_table

MERGED = "scores.parquet"
MAP_SIDE = 32  # positions per side that are kept of a difference map: 2 KiB an image
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("image_score", pa.float32()),
        ("boxes", pa.list_(pa.int32())),  # x0, y0, x1, y1 of each box in the file's pixels, best box first
        ("scores", pa.list_(pa.float32())),
        ("differences", pa.list_(pa.float32())),
        ("losses", pa.list_(pa.float32())),
        ("map", pa.binary()),  # difference map, fp16, row by row, averaged down to MAP_SIDE
        ("map_side", pa.int32()),
    ]
)


class ShardPlan:
    """Divides the rows of an index into shards of equal size.

    Attributes:
        folder: Where the shards lie.
        rows: Number of rows.
        size: Rows per shard.
    """

    def __init__(self, folder: Path, rows: int, size: int) -> None:
        self.folder, self.rows, self.size = folder, rows, size

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / f"shard-{shard:05d}-of-{len(self):05d}.parquet"

    def range(self, shard: int) -> range:
        """Rows of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, self.rows))

    def missing(self) -> list[int]:
        """Shards that are not written yet."""
        return [shard for shard in range(len(self)) if not self.path(shard).exists()]

    def merge(self) -> pa.Table:
        """Writes and returns the merged view: all rows in index order, without the maps.

        Raises:
            UserError: A shard does not hold the rows it should.
        """
        columns = [name for name in SCHEMA.names if name not in ("map", "map_side")]
        tables = []
        for shard in range(len(self)):
            try:
                table = pq.read_table(self.path(shard), columns=columns)
            except pa.ArrowException:
                table = None
            if table is None or len(table) != len(self.range(shard)):
                raise UserError(f"{self.path(shard)} is damaged; remove it to score its images again")
            tables.append(table)
        merged = pa.concat_tables(tables)
        write_table(self.folder / MERGED, merged)
        return merged

    def write(self, shard: int, rows: list[dict[str, object]]) -> None:
        """Writes a complete shard."""
        write_table(self.path(shard), pa.Table.from_pylist(rows, schema=SCHEMA))


class ShardBatches:
    """Batches of row numbers for one rank, each within one shard; whole shards are dealt out to the ranks in turn."""

    def __init__(self, plan: ShardPlan, shards: list[int], batch_size: int, rank: int, ranks: int) -> None:
        self.plan, self.shards, self.batch_size = plan, shards[rank::ranks], batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for shard in self.shards:
            rows = self.plan.range(shard)
            for start in range(rows.start, rows.stop, self.batch_size):
                yield list(range(start, min(start + self.batch_size, rows.stop)))

    def __len__(self) -> int:
        return sum(-(-len(self.plan.range(shard)) // self.batch_size) for shard in self.shards)


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
