"""The features that the stage left, read class by class."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from ddselect.runtime.files import write_tensors
from ddselect.runtime.shards import ShardPlan

KINDS = ("crop", "image")


def feature_shards(folder: Path, rows: int, size: int) -> ShardPlan:
    """The shards of features, in the order of the score table."""
    return ShardPlan(folder, rows, size, ".safetensors")


def write_rows(path: Path, rows: list[tuple[Tensor, ...]]) -> None:
    """Writes a shard: of each image what belongs to its crops (n, ...) and to the whole (1, ...), or to this alone."""
    parts = list(zip(*rows, strict=True))
    write_tensors(path, {kind: torch.cat(found) for kind, found in zip(KINDS[-len(parts) :], parts, strict=True)})


class FeatureTable:
    """Features of crops and whole images, or of these alone; only what is asked for is held in memory.

    What is read as features can be any numbers of the candidates, such as the teacher's losses: (M,), not (M, D).
    """

    def __init__(self, plan: ShardPlan, starts: np.ndarray | None = None) -> None:
        """A table of finished shards; ``starts`` (N + 1,) says where each image's crops begin, if there are crops."""
        self.plan, self.starts = plan, starts

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """By kind, float32 features (M, D) of the crops and (n, D) of the whole images of some rows (n,), rising."""
        found: dict[str, list[np.ndarray]] = {kind: [] for kind in (KINDS if self.starts is not None else ("image",))}
        for shard in np.unique(rows // self.plan.size):
            mine = rows[rows // self.plan.size == shard]
            tensors, begin = load_file(self.plan.path(int(shard))), int(shard) * self.plan.size
            if self.starts is not None:
                crops = [np.arange(self.starts[row], self.starts[row + 1]) for row in mine]
                found["crop"].append(tensors["crop"][np.concatenate(crops) - self.starts[begin]])
            found["image"].append(tensors["image"][mine - begin])
        return {kind: np.concatenate(parts).astype(np.float32) for kind, parts in found.items()}
