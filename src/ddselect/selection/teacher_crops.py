"""The teacher-crops stage: random crops of the images, and the teacher's loss on the best of them and on the whole."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.dataset.index import Index
from ddselect.embed.cuts import Boxes, CutBatch, Cuts, as_batch
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.seeds import numpy_generator
from ddselect.scoring.candidates import candidates
from ddselect.scoring.table import merge, score_shards, write_rows
from ddselect.selection.random_boxes import random_boxes
from ddselect.selection.rded import TeacherScoredConfig
from ddselect.student.models import Classifier

_BATCH = 256  # images


class _Judge(pl.LightningModule):
    """A predict step turns the crops and the whole of some images into rows of the score table."""

    def __init__(self, teacher: Classifier, index: Index, boxes: np.ndarray, margin: int) -> None:
        super().__init__()
        self.teacher, self.boxes, self.margin = teacher, boxes, margin
        self.ids, self.labels = index.ids, torch.from_numpy(index.labels)
        self.wholes = index.square_boxes()

    def predict_step(self, batch: CutBatch, batch_idx: int = 0) -> list[dict[str, object]]:
        """Rows (:data:`ddselect.scoring.table.SCHEMA`); a score is a loss with its sign turned."""
        (crops, wholes), rows = batch.cuts, batch.rows
        count = len(rows)
        labels = self.labels[rows].to(self.device)
        of_crops = self._losses(crops, labels.repeat_interleave(len(crops) // count), self.margin)
        of_wholes = self._losses(wholes, labels, 0)
        best_loss, best = of_crops.view(count, -1).min(1)
        return [
            {
                "id": self.ids[row],
                "label": int(self.labels[row]),
                "image_score": -float(of_wholes[number]),
                "boxes": self.boxes[row, int(best[number])].tolist(),
                "scores": [-float(best_loss[number])],
            }
            for number, row in enumerate(rows)
        ]

    def _losses(self, cuts: Tensor, labels: Tensor, margin: int) -> Tensor:
        """Cross-entropies (N,) of cuts (N, 3, s, s) uint8, on black that shows as much as ``margin`` asks for."""
        images = cuts.float() / 255
        if margin:
            images = self.teacher.pad_black(images, (margin // 2, margin - margin // 2) * 2)
        losses = F.cross_entropy(self.teacher(images).float(), labels, reduction="none").cpu()
        if not losses.isfinite().all():
            raise NumericalError("the teacher's loss on a crop or an image is not finite")
        return losses


def judge_crops(
    index: Index,
    teacher: Classifier,
    method: TeacherScoredConfig,
    view: int,
    seed: int,
    make_trainer: MakeTrainer,
    folder: Path,
) -> dict[str, object]:
    """Judges the images whose shards are missing and writes the merged table, as the boxes stage does.

    The teacher is in evaluation mode; ``view`` is the side in pixels of the square view.

    Raises:
        UserError: An image cannot be read.
        NumericalError: A loss is not finite.
    """
    index, size = candidates(index, method.images, seed), max(1, round(method.size * view))
    random = [numpy_generator(seed, "rded", number) for number in range(method.crops)]
    boxes = np.stack([random_boxes(index, method.area, view, generator) for generator in random], 1)
    every, starts = np.arange(len(index) + 1), method.crops * np.arange(len(index) + 1)
    groups = [Boxes(starts, boxes.reshape(-1, 4), size), Boxes(every, index.square_boxes(), view)]
    plan = score_shards(folder, len(index))
    fill_shards(
        plan,
        lambda: _Judge(teacher, index, boxes, view - size if method.padded else 0),
        Cuts(index, groups),
        write_rows,
        make_trainer,
        Loading(_BATCH, -1, as_batch),
        "teacher crops",
    )
    table = merge(plan)
    return {"images": len(table), "mean_image_loss": round(-float(pc.mean(table["image_score"]).as_py()), 4)}
