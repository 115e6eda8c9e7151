"""The maps that scoring keeps of every image: all that boxes are found and scored by, without the network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import isqrt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.runtime.files import write_table
from ddselect.runtime.shards import ShardPlan, settled_size

SIDE = 32  # positions per side that are kept at most: 2 KiB a map
MAPS = ("difference", "prediction_shift")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("image_score", pa.float32()),  # as in Maps; null without a reference condition, where it is always zero
        *((name, pa.binary()) for name in MAPS),  # (s, s) fp16, row by row, averaged down to SIDE
    ]
)


@dataclass(frozen=True)
class Maps:
    """Per-position results of some images, averaged over draws.

    Attributes:
        difference: (N, h, w) float32 D(x | y): large where the label explains the image; cross terms of the draws mixed
            in as asked for. Without a reference condition, the loss minus its mean over the image.
        prediction_shift: (N, h, w) float32 squared difference of the two conditions' predictions, averaged over
            channels: large where the label changes what is predicted. It is the difference with the noise replaced by
            its prediction under the label, and so varies far less from draw to draw; but it does not say whether the
            change was for the better, so that it tells places apart and not images. Without a reference condition, the
            difference.
        image_score: (N,) float32 mean difference of an image, as a share of its loss under the reference condition: as
            absolute numbers, those of images that are hard to denoise in any case would differ most.
    """

    difference: Tensor
    prediction_shift: Tensor
    image_score: Tensor

    def placement(self, prediction_shift_weight: float) -> Tensor:
        """(N, h, w) what boxes are placed by: the difference, and the prediction shift at a share from 0 to 1."""
        return torch.lerp(self.difference, self.prediction_shift, prediction_shift_weight)


def joined(parts: Sequence[Maps]) -> Maps:
    """The maps of several batches as those of one."""
    return Maps(*(torch.cat([getattr(maps, field.name) for maps in parts]) for field in fields(Maps)))


def map_shards(folder: Path, rows: int, size: int) -> ShardPlan:
    """The shards of a scoring; ``size`` counts in a new folder alone."""
    return ShardPlan(folder, rows, settled_size(folder, size), ".parquet")


def packed(maps: Tensor) -> np.ndarray:
    """Maps (N, h, w) as they are kept: (N, s, s) float16, averaged down."""
    return F.adaptive_avg_pool2d(maps, min(SIDE, maps.shape[-1])).half().cpu().numpy()


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows of :data:`SCHEMA`."""
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def read_image_scores(folder: Path) -> pa.Table:
    """``id``, ``label`` and ``image_score`` of a finished scoring, one row per image in index order."""
    columns = [name for name in SCHEMA.names if name not in MAPS]
    return pa.concat_tables([pq.read_table(path, columns=columns) for path in _shards(folder)])


def read_shards(folder: Path, ids: list[str] | None = None) -> Iterator[tuple[list[str], Maps]]:
    """Ids and kept maps of a finished scoring, shard by shard in index order, of all images or of some."""
    wanted = None if ids is None else [("id", "in", ids)]
    for path in _shards(folder):
        table = pq.read_table(path, columns=["id", "image_score", *MAPS], filters=wanted)
        if len(table):
            scores = torch.from_numpy(table["image_score"].to_numpy().astype(np.float32))
            difference, shift = (_unpacked(table[name]) for name in MAPS)
            yield table["id"].to_pylist(), Maps(difference, shift, scores)


def read_maps(folder: Path, ids: list[str] | None, prediction_shift_weight: float) -> dict[str, np.ndarray]:
    """What boxes are placed by, (s, s) float32 by image id, of all images or of some.

    ``prediction_shift_weight`` is the share of the prediction shift in it, that of the boxes.
    """
    maps: dict[str, np.ndarray] = {}
    for images, kept in read_shards(folder, ids):
        maps |= zip(images, kept.placement(prediction_shift_weight).numpy(), strict=True)
    return maps


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.parquet"))


def _unpacked(column: pa.ChunkedArray) -> Tensor:
    """(n, s, s) float32 of n maps as they are kept."""
    flat = np.frombuffer(b"".join(column.to_pylist()), dtype=np.float16).astype(np.float32)
    side = isqrt(len(flat) // len(column))
    return torch.from_numpy(flat).view(-1, side, side)
