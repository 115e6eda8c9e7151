"""Stored labels: the teacher's outputs on every view that a student will see, made before it trains."""

import shutil
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from ddselect.relabel.settings import VERSION
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.files import write_tensors
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.progress import note
from ddselect.runtime.shards import ShardPlan
from ddselect.student.models import Classifier, last_layer
from ddselect.student.views import Batch, Views

_LABELS, _CLASSIFIER, _MADE = "labels", "classifier.safetensors", "made"
_GIB = 2**30


def label_shards(folder: Path, views: Views) -> ShardPlan:
    """One shard for each pass over the set; a row is a step."""
    return ShardPlan(folder, views.total, views.per_pass, ".safetensors")


class _Steps(Dataset[Batch]):
    """The batches of all steps."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def __len__(self) -> int:
        return self.views.total

    def __getitem__(self, step: int) -> Batch:
        return self.views.batch(step)


def _only(rows: list[Batch]) -> Batch:
    return rows[0]


class _Labelling(pl.LightningModule):
    """A predict step gives the teacher's outputs on the views of a step."""

    def __init__(self, teacher: Classifier, views: Views, keep: str) -> None:
        super().__init__()
        self.teacher, self.views, self.keep = teacher, views, keep

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> list[Tensor]:
        """One entry: (N, K) logits or (N, D) features, float16."""
        images, _, stitched, step = batch
        mixed = self.views.mixed(images, stitched, step).images
        found = (self.teacher if self.keep == "logits" else self.teacher.features)(mixed).half().cpu()
        if not found.isfinite().all():
            raise NumericalError(f"the teacher's {self.keep} at step {step} are not finite in float16")
        return [found]


def store_labels(
    teacher: Classifier, views: Views, keep: str, make_trainer: MakeTrainer, folder: Path, name: str
) -> dict[str, object]:
    """Labels the views of every step whose shard is missing: ``shard-*.safetensors``, one for each pass.

    Says how many bytes that takes before it starts. Features come with the teacher's last layer
    (``classifier.safetensors``), which makes logits of them: exact up to the rounding, and smaller where classes are
    many.

    Args:
        teacher: The teacher, in evaluation mode.
        views: What the student will see.
        keep: ``logits`` or ``features``.
        make_trainer: Makes a trainer with the given callbacks.
        folder: Where shards are, or will be.
        name: Name for the progress display.

    Raises:
        UserError: The labels do not fit on the disk, or the teacher's last layer is not linear.
        NumericalError: A label is not finite in float16.
    """
    weight, bias = last_layer(teacher)
    width = weight.shape[0 if keep == "logits" else 1]
    images = min(len(views.data.labels), views.per_pass * views.batch_size)  # of a pass
    passes = -(-views.total // views.per_pass)
    needed = 2 * width * images * passes
    size = f"{needed / _GIB:.2f} GiB" if needed > _GIB / 100 else f"{needed / 2**20:.1f} MiB"
    note(f"  {passes} passes over {images} images, {width} {keep} each in fp16: {size} of labels")
    plan = label_shards(folder, views)
    folder.mkdir(parents=True, exist_ok=True)
    left = needed * len(plan.missing()) // max(1, len(plan))
    free = shutil.disk_usage(folder).free
    if left > free:
        raise UserError(
            f"relabel.keep={keep}: {left / _GIB:.1f} GiB are needed in {folder}, {free / _GIB:.1f} are free; use "
            f"{'relabel=features or ' if keep == 'logits' and weight.shape[1] < weight.shape[0] else ''}relabel=live"
        )
    if keep == "features":
        write_tensors(folder / _CLASSIFIER, {"weight": weight, "bias": bias})
    made = {_MADE: f"{keep} {VERSION}"}  # one entry: safetensors keeps no order among several
    fill_shards(
        plan,
        lambda: _Labelling(teacher, views, keep),
        _Steps(views),
        lambda path, rows: write_tensors(path, {_LABELS: torch.cat(rows)}, made),
        make_trainer,
        Loading(1, 0, _only),
        f"labels of {name}",
        "steps",
    )
    return {"passes": passes, "label_bytes": needed, "width": width}


class StoredLabels:
    """The labels of a finished store, step by step."""

    def __init__(self, folder: Path, views: Views) -> None:
        """Labels in a folder for the steps of some views."""
        self.plan, self.views, self.folder = label_shards(folder, views), views, folder
        self._pass = -1, torch.empty(0)

    def __call__(self, images: Tensor, step: int, rows: slice = slice(None)) -> Tensor:
        """(N, K) float32 logits for the N images of a step's rows, on their device.

        Raises:
            UserError: The labels were made by another version.
        """
        number, place = divmod(step, self.views.per_pass)
        if number != self._pass[0]:
            self._pass = number, self._read(number)
        start = place * self.views.batch_size
        return self._pass[1][start : start + self.views.batch_size][rows].to(images.device)

    def _read(self, number: int) -> Tensor:
        path = self.plan.path(number)
        with safe_open(path, "pt") as file:
            keep, _, version = (file.metadata() or {}).get(_MADE, "").partition(" ")
            labels = file.get_tensor(_LABELS).float()
        if version != str(VERSION):
            raise UserError(
                f"{path}: labels of version {version or '?'}, which this version ({VERSION}) cannot use; remove the "
                f"folder {self.folder} to make them again"
            )
        if keep == "logits":
            return labels
        with safe_open(self.folder / _CLASSIFIER, "pt") as file:
            return F.linear(labels, file.get_tensor("weight").float(), file.get_tensor("bias").float())
