"""Shards: the rows of a table in files of equal size, which ranks share and interruptions leave whole."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.integrity import is_sealed
from ddselect.runtime.progress import counting


class ShardPlan:
    """Divides rows into shards.

    Attributes:
        size: Rows per shard; the last one may have fewer.
    """

    def __init__(self, folder: Path, rows: int, size: int, suffix: str, stem: str = "shard") -> None:
        self.folder, self.rows, self.size, self.suffix, self.stem = folder, rows, size, suffix, stem

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / f"{self.stem}-{shard:05d}-of-{len(self):05d}{self.suffix}"

    def range(self, shard: int) -> range:
        """Rows of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, self.rows))

    def missing(self) -> list[int]:
        """Shards that are not written yet, or are not whole."""
        missing = [shard for shard in range(len(self)) if not self.path(shard).exists()]
        if len(missing) == len(self):
            return missing
        with counting(f"checking {self.folder.parent.name}", len(self), "shards") as counter:
            for shard in {*range(len(self))} - {*missing}:
                missing += [] if is_sealed(self.path(shard)) else [shard]
                counter.advance()
        return sorted(missing)

    def forget_others(self) -> None:
        """Removes shards of an earlier division of the rows."""
        mine = {self.path(shard) for shard in range(len(self))}
        for path in {*self.folder.glob(f"{self.stem}-*-of-*{self.suffix}")} - mine:
            path.unlink(missing_ok=True)


def settled_size(folder: Path, size: int) -> int:
    """Rows per shard in a folder: those that it was begun with, else ``size``, which it then keeps.

    So the size is free to change between attempts, and what is finished is read without knowing it.
    """
    path = folder / "shards.json"
    with suppress(OSError, ValueError, KeyError):  # there is none, or a damaged one
        return int(read_json(path)["rows"])
    write_json(path, {"rows": size})
    return size


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
