"""Latents that are kept: encoded once in float16, and read by every later scoring instead of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pytorch_lightning as pl
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.files import write_tensors
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.shards import ShardPlan, settled_size
from ddselect.scoring.settings import ScoringConfig

_NAME = "latents"


class Views(Dataset[tuple[Tensor, int]]):
    """Square views (3, S, S) uint8 of the images of an index, with their row numbers."""

    def __init__(self, index: Index, size: int) -> None:
        self.index, self.size = index, size

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.index.read(row, self.size), row


class _LatentsOf(Dataset[tuple[Tensor, int]]):
    """Kept latents (C, h, w) float16, with the row numbers that they have here."""

    def __init__(self, plan: ShardPlan, places: Sequence[int]) -> None:
        self.plan, self.places = plan, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        shard, place = divmod(self.places[row], self.plan.size)
        with safe_open(self.plan.path(shard), "pt") as file:  # maps the file: only this latent is read
            latent: Tensor = file.get_slice(_NAME)[place]
        return latent, row


@dataclass(frozen=True)
class KeptLatents:
    """The finished latents of an index."""

    index: Index  # the images, in the latents' order
    plan: ShardPlan

    def of(self, index: Index) -> Dataset[tuple[Tensor, int]]:
        """The latents of some of the images, with row numbers in ``index``."""
        if index is self.index:
            return _LatentsOf(self.plan, range(len(index)))
        return _LatentsOf(self.plan, pc.index_in(index.table["id"], self.index.table["id"]).to_pylist())


class _Encoding(pl.LightningModule):
    """A predict step turns images into latents."""

    def __init__(self, denoiser: Denoiser, ids: list[str]) -> None:
        super().__init__()
        self.denoiser, self.ids = denoiser, ids

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> list[Tensor]:
        """(C, h, w) float16 latents for (images (N, 3, S, S) uint8, row numbers (N,))."""
        latents = self.denoiser.encode(batch[0]).half().cpu()
        finite = latents.flatten(1).isfinite().all(1)
        if not finite.all():
            image = self.ids[int(batch[1][~finite.to(batch[1].device)][0])]
            raise NumericalError(
                f"image {image}: its latents are not finite with backbone {self.denoiser.title}; {self.denoiser.remedy}"
            )
        return list(latents)


def latent_shards(folder: Path, rows: int, size: int = 500) -> ShardPlan:
    """The shards of kept latents; ``size`` counts in a new folder alone."""
    return ShardPlan(folder, rows, settled_size(folder, size), ".safetensors")


def keep_latents(
    index: Index, denoiser: Denoiser, settings: ScoringConfig, view: int, make_trainer: MakeTrainer, folder: Path
) -> dict[str, object]:
    """Encodes the images whose shards are missing: ``shard-*.safetensors`` with ``latents`` (n, C, h, w) float16.

    ``view`` is the side in pixels of the square view.

    Raises:
        UserError: An image cannot be read, or the view does not suit the backbone.
        NumericalError: A latent is not finite.
    """
    shape = denoiser.latent_shape(view)
    plan = latent_shards(folder, len(index), settings.shard_size)
    fill_shards(
        plan,
        lambda: _Encoding(denoiser, index.ids),
        Views(index, view),
        lambda path, rows: write_tensors(path, {_NAME: torch.stack(rows)}),
        make_trainer,
        Loading(settings.batch_size, settings.workers),
        "latents",
    )
    return {"images": len(index), "shape": list(shape)}
