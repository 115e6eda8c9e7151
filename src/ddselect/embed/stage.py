"""The features stage: the teacher's view, another network's or the prior's, of every candidate."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from ddselect.dataset.index import Index
from ddselect.embed.cuts import Boxes, CutBatch, Cuts, as_batch
from ddselect.embed.feature_table import feature_shards, write_rows
from ddselect.embed.settings import EmbedConfig, Embedder
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.scoring.table import Crops


class _Embedding(pl.LightningModule):
    """A predict step turns cuts into features."""

    def __init__(self, network: Embedder) -> None:
        super().__init__()
        self.network = network

    def predict_step(self, batch: CutBatch, batch_idx: int = 0) -> list[tuple[Tensor, ...]]:
        """For each image the features (n, D) float16 of its crops, if they are asked for, and (1, D) of the whole."""
        parts = []
        for cuts, counts in zip(batch.cuts, batch.counts, strict=True):
            features = self.network.features(cuts.float() / 255).half().cpu()
            if not features.isfinite().all():
                raise NumericalError("features are not finite in float16")
            parts.append(torch.split(features, counts))
        return list(zip(*parts, strict=True))


def patch_side(crops: Crops, index: Index, view: int) -> int:
    """Side in pixels of the crops as they appear in a view of the images: the median."""
    side = float(np.median(index.sizes().min(1)))
    return max(1, round(float(np.median(crops.boxes[:, 2] - crops.boxes[:, 0])) * view / side))


def embed_candidates(
    index: Index,
    crops: Crops | None,
    network: Embedder,
    settings: EmbedConfig,
    view: int,
    make_trainer: MakeTrainer,
    folder: Path,
    title: str = "features",
) -> dict[str, object]:
    """Embeds the candidates whose shards are missing: ``shard-*.safetensors`` with ``crop`` and ``image`` features.

    Args:
        index: The images that have candidates.
        crops: Their boxes; None for the whole images alone.
        network: What embeds them, in evaluation mode.
        settings: Sizes of shards and batches, and reading processes.
        view: Side in pixels of the square view that is composed and trained on.
        make_trainer: Makes a trainer with the given callbacks.
        folder: Where shards are, or will be.
        title: What progress is told of.

    Raises:
        UserError: An image cannot be read.
        NumericalError: A feature is not finite.
    """
    groups = [Boxes(np.arange(len(index) + 1), index.square_boxes(), settings.shown(view))]
    if crops is not None:
        groups.insert(0, Boxes(crops.starts, crops.boxes, settings.shown(patch_side(crops, index, view))))
    fill_shards(
        feature_shards(folder, len(index), settings.shard_size),
        lambda: _Embedding(network),
        Cuts(index, groups),
        write_rows,
        make_trainer,
        Loading(settings.batch_size, settings.workers, as_batch),
        title,
    )
    return {"images": len(index), "crops": len(crops.boxes) if crops is not None else 0}
