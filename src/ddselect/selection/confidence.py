"""The confidence stage: the teacher's loss on every crop and whole image that the prior scored."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.dataset.index import Index
from ddselect.embed.cuts import Boxes, CutBatch, Cuts, as_batch
from ddselect.embed.feature_table import feature_shards, write_rows
from ddselect.embed.stage import patch_side
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.shards import ShardPlan
from ddselect.scoring.table import Crops
from ddselect.student.models import Classifier

_BATCH, _SHARD = 256, 2000  # images


class _Witness(pl.LightningModule):
    """A predict step turns the crops and the whole of some images into losses."""

    def __init__(self, teacher: Classifier, labels: np.ndarray) -> None:
        super().__init__()
        self.teacher, self.labels = teacher, torch.from_numpy(labels)

    def predict_step(self, batch: CutBatch, batch_idx: int = 0) -> list[tuple[Tensor, ...]]:
        """For each image the losses (n,) float32 of its crops and (1,) of the whole."""
        labels, parts = self.labels[batch.rows], []
        for cuts, counts in zip(batch.cuts, batch.counts, strict=True):
            own = labels.repeat_interleave(torch.tensor(counts)).to(self.device)
            losses = F.cross_entropy(self.teacher(cuts.float() / 255).float(), own, reduction="none").cpu()
            if not losses.isfinite().all():
                raise NumericalError("the teacher's loss on a crop or an image is not finite")
            parts.append(torch.split(losses, counts))
        return list(zip(*parts, strict=True))


def confidence_shards(folder: Path, rows: int) -> ShardPlan:
    """The shards of losses, in the order of the score table."""
    return feature_shards(folder, rows, _SHARD)


def ask_teacher(
    index: Index, crops: Crops, teacher: Classifier, view: int, make_trainer: MakeTrainer, folder: Path
) -> dict[str, object]:
    """Judges the candidates whose shards are missing: ``shard-*.safetensors`` with ``crop`` and ``image`` losses.

    Args:
        index: The images that have candidates.
        crops: Their boxes.
        teacher: The teacher, in evaluation mode; it sees crops and images at the sizes that they are composed at.
        view: Side in pixels of the square view that is composed and trained on.
        make_trainer: Makes a trainer over all ranks with the given callbacks.
        folder: Where shards are, or will be.

    Raises:
        UserError: An image cannot be read.
        NumericalError: A loss is not finite.
    """
    every = np.arange(len(index) + 1)
    groups = [
        Boxes(crops.starts, crops.boxes, patch_side(crops, index, view)),
        Boxes(every, index.square_boxes(), view),
    ]
    fill_shards(
        confidence_shards(folder, len(index)),
        lambda: _Witness(teacher, index.labels),
        Cuts(index, groups),
        write_rows,
        make_trainer,
        Loading(_BATCH, -1, as_batch),
        "confidence",
    )
    return {"images": len(index), "crops": len(crops.boxes)}
