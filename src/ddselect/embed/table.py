"""What the embedding left of every candidate, read class by class."""

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ddselect.runtime.files import write_tensors
from ddselect.runtime.shards import ShardPlan

KINDS = ("crop", "image")
FIELDS = ("features", "loss", "channel_stats", "entropy")


def embed_shards(folder: Path, rows: int) -> ShardPlan:
    """The shards of a finished embedding, or of one to come: one row for each image that has candidates."""
    return ShardPlan(folder, rows, 2000, ".safetensors")


def write_rows(path: Path, rows: list[dict[str, Tensor]]) -> None:
    """Writes a shard.

    A row has, by ``<kind>.<field>``, what belongs to an image's crops (n, ...) and to the whole (1, ...).
    """
    write_tensors(path, {name: torch.cat([row[name] for row in rows]) for name in rows[0]})


class EmbedTable:
    """What an embedding left of candidates (:data:`FIELDS`); only what is asked for is held in memory."""

    def __init__(self, plan: ShardPlan, starts: np.ndarray | None = None) -> None:
        """A table of finished shards; ``starts`` (N + 1,) says where each image's crops begin, if there are crops."""
        self.plan, self.starts = plan, starts

    def read(self, rows: np.ndarray, field: str) -> dict[str, np.ndarray]:
        """One field of the candidates of some images, float32, by kind (:data:`KINDS`; images alone without crops).

        Rows (n,) are rising; ``features`` are (M, D), ``loss`` and ``entropy`` (M,), ``channel_stats`` (M, 6).
        """
        found: dict[str, list[np.ndarray]] = {kind: [] for kind in (KINDS if self.starts is not None else ("image",))}
        for shard in np.unique(rows // self.plan.size):
            mine, begin = rows[rows // self.plan.size == shard], int(shard) * self.plan.size
            with safe_open(self.plan.path(int(shard)), "np") as file:
                if self.starts is not None:
                    crops = [np.arange(self.starts[row], self.starts[row + 1]) for row in mine]
                    found["crop"].append(file.get_tensor(f"crop.{field}")[np.concatenate(crops) - self.starts[begin]])
                found["image"].append(file.get_tensor(f"image.{field}")[mine - begin])
        return {kind: np.concatenate(parts).astype(np.float32) for kind, parts in found.items()}
