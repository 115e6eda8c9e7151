"""Stored labels: the teacher's outputs on every view that a student will see, made before it trains.

A folder of labels has, for each pass over the distilled set, ``labels-<pass>-of-<passes>.safetensors``:

=========  ========  ================================================================================================
tensor     shape     content
=========  ========  ================================================================================================
labels     (N, K)    float16 logits of the K classes, or with ``keep=features`` (N, D) penultimate features
images     (N,)      int32: the image of each row, counted from 0 in ``metadata.jsonl``
steps      (N,)      int32: the training step in which it is seen, counted from 0 over all passes
=========  ========  ================================================================================================

With ``keep=quantised`` labels are levels of the features in uint8, and a tensor ``range`` (N, 2) float32 has the least
feature of each row and the distance of two levels. One pass in ten is stored, and its views come again in the others
(Xiao et al., 2024, prune passes too).

With features there is ``classifier.safetensors``, float32: ``weight`` (K, D) and ``bias`` (K,) make logits of them.
``labels.json`` says what the views were: ``keep``, ``width`` (K or D), ``seed``, ``batch_size``, ``steps_per_pass``,
``steps`` in all, ``repeats`` of each pass, ``factor`` and ``ipc`` of the set, and under ``views`` the part of the
protocol that decides them. A label belongs to an image as the student sees it in that step: cut, mirrored, and mixed
with another image of the step.
:func:`labelled_views` makes exactly these again.
"""

import shutil
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from ddselect.composition.distilled import METADATA, read_distilled, read_images
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.live import by_halves
from ddselect.relabel.settings import DESCRIPTION, VERSION
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.files import read_json, write_json, write_tensors
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.progress import note
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.models import Classifier, last_layer
from ddselect.student.train import student_views
from ddselect.student.views import Batch, TrainingSet, Views
from ddselect.teacher.card import load_teacher

_LABELS, _RANGE, _CLASSIFIER, _MADE = "labels", "range", "classifier.safetensors", "made"
_GIB = 2**30


def label_shards(folder: Path, views: Views) -> ShardPlan:
    """One shard for each pass over the set; a row is a step."""
    return ShardPlan(folder, views.period, views.per_pass, ".safetensors", _LABELS)


class _Labelling(pl.LightningModule):
    """A predict step gives the teacher's outputs on the views of a step, and which they are."""

    def __init__(self, teacher: Classifier, views: Views, keep: str) -> None:
        super().__init__()
        self.teacher, self.views, self.keep = teacher, views, keep

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> list[dict[str, Tensor]]:
        """One entry: the rows of the shard that are of this step."""
        images, _, stitched, step = batch
        mixed = self.views.mixed(images, stitched, step).images
        outputs = self.teacher if self.keep == "logits" else self.teacher.features
        made = by_halves(self.teacher, outputs, mixed) if self.views.protocol.halves else outputs(mixed)
        found = made.half().cpu()
        if not found.isfinite().all():
            raise NumericalError(f"the teacher's {self.keep} at step {step} are not finite in float16")
        steps = torch.full((len(found),), step, dtype=torch.int32)
        kept = _levels(found.float()) if self.keep == "quantised" else {_LABELS: found}
        return [{**kept, "images": self.views.rows(step).int(), "steps": steps}]


def _levels(features: Tensor) -> dict[str, Tensor]:
    """Features (N, D) in 256 levels between the least and the largest of each row."""
    low, high = features.aminmax(dim=1, keepdim=True)
    distance = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
    return {_LABELS: ((features - low) / distance).round().byte(), _RANGE: torch.cat([low, distance], 1)}


def views_of(trial: Trial, folder: Path) -> Views:
    """What a trial's student sees, and labels are stored for; a set too large for the memory lies in ``folder``."""
    found = read_distilled(trial.stages["composition"].folder, folder)
    data = TrainingSet(found.images, found.parts, found.stitched, trial.method.composition.factor, trial.ipc)
    repeats = trial.experiment.relabel.repeats if trial.protocol.labels == "soft" else 1
    return student_views(data, trial.protocol, trial.student, trial.seed, repeats)


def run(trial: Trial, folder: Path) -> Facts:
    """The relabel stage."""
    e = trial.experiment
    teacher = load_teacher(trial.stages["teacher"].folder).to(e.trainer.device)
    return store_labels(teacher, views_of(trial, folder), e.relabel.keep, e.trainer.student, folder, trial.name)


def store_labels(
    teacher: Classifier, views: Views, keep: str, make_trainer: MakeTrainer, folder: Path, name: str
) -> dict[str, object]:
    """Labels the views of every step whose shard is missing, in the form that the head of this module tells.

    Says how many bytes that takes before it starts. Features and the teacher's last layer make logits that are exact up
    to the rounding; they are smaller where classes are many.

    Raises:
        UserError: The labels do not fit on the disk, or the teacher's last layer is not linear.
        NumericalError: A label is not finite in float16.
    """
    weight, bias = last_layer(teacher)
    width = weight.shape[0 if keep == "logits" else 1]
    images = min(views.images_per_pass, views.per_pass * views.batch_size)  # of a pass
    passes = -(-views.period // views.per_pass)
    needed = (width + 8 if keep == "quantised" else 2 * width) * images * passes
    size = f"{needed / _GIB:.2f} GiB" if needed > _GIB / 100 else f"{needed / 2**20:.1f} MiB"
    each = f"{width} features each in 8 bits" if keep == "quantised" else f"{width} {keep} each in fp16"
    note(f"  {passes} passes over {images} images, {each}: {size} of labels")
    plan = label_shards(folder, views)
    folder.mkdir(parents=True, exist_ok=True)
    left = needed * sum(not plan.path(shard).exists() for shard in range(len(plan))) // max(1, len(plan))
    free = shutil.disk_usage(folder).free
    if left > free:
        raise UserError(
            f"relabel.keep={keep}: {left / _GIB:.1f} GiB are needed in {folder}, {free / _GIB:.1f} are free; use "
            f"{'relabel=features or ' if keep == 'logits' and weight.shape[1] < weight.shape[0] else ''}relabel=live"
        )
    if keep != "logits":
        write_tensors(folder / _CLASSIFIER, {"weight": weight.float(), "bias": bias.float()})
    write_json(folder / DESCRIPTION, {"version": VERSION, "keep": keep, "width": width, **_describe(views)})
    made = {_MADE: f"{keep} {VERSION}"}  # one entry: safetensors keeps no order among several
    fill_shards(
        plan,
        lambda: _Labelling(teacher, views, keep),
        views,
        lambda path, rows: write_tensors(path, {key: torch.cat([row[key] for row in rows]) for key in rows[0]}, made),
        make_trainer,
        Loading(1, 0, itemgetter(0)),
        f"labels of {name}",
        "steps",
    )
    return {"passes": passes, "label_bytes": needed, "width": width}


def _describe(views: Views) -> dict[str, object]:
    """What :func:`labelled_views` makes views from, beside the images."""
    return {
        "seed": views.seed,
        "batch_size": views.batch_size,
        "steps_per_pass": views.per_pass,
        "steps": views.total,
        "repeats": views.repeats,
        "factor": views.data.factor,
        "ipc": views.data.ipc,
        "views": views.protocol.of_views(),
    }


def labelled_views(distilled: Path, labels: Path) -> Views:
    """The views that stored labels belong to: ``views.batch(step)`` and ``views.mixed(...)`` make those of a step.

    ``distilled`` is the folder with ``metadata.jsonl``, ``labels`` the one with ``labels.json``.

    Raises:
        UserError: There are no labels, or they belong to another set.
    """
    path = labels / DESCRIPTION
    if not path.exists():
        raise UserError(f"{path} is missing: no labels are stored there")
    told, found = read_json(path), read_images(distilled)
    data = TrainingSet(found.images, found.parts, found.stitched, told["factor"], told["ipc"])
    views = Views(data, ProtocolConfig("stored", **told["views"]), told["seed"], told.get("repeats", 1))
    if [views.batch_size, views.per_pass, views.total] != [
        told[key] for key in ("batch_size", "steps_per_pass", "steps")
    ]:
        raise UserError(f"{path} does not belong to the {len(found.labels)} images of {distilled / METADATA}")
    return views


class StoredLabels:
    """The labels of a finished store, step by step."""

    def __init__(self, folder: Path, views: Views) -> None:
        """Labels in a folder for the steps of some views."""
        self.plan, self.views, self.folder = label_shards(folder, views), views, folder
        self._classifier: tuple[Tensor, ...] = ()
        self._pass: tuple[int, Any] = -1, None  # the open file of the latest

    def __call__(self, images: Tensor, step: int, rows: slice = slice(None)) -> Tensor:
        """(N, K) float32 logits for the N images of a step's rows, on their device.

        Raises:
            UserError: The labels were made by another version.
        """
        number, place = divmod(step % self.views.period, self.views.per_pass)
        if number != self._pass[0]:
            self._pass = number, self._opened(number)
        start, file = place * self.views.batch_size, self._pass[1]
        mine = slice(start, start + self.views.batch_size)
        labels = file.get_slice(_LABELS)[mine][rows].float()
        if _RANGE in file.keys():  # noqa: SIM118  (no mapping)
            low, distance = file.get_slice(_RANGE)[mine][rows].split(1, 1)
            labels = low + labels * distance
        return (F.linear(labels, *self._classifier) if self._classifier else labels).to(images.device)

    def _opened(self, number: int) -> Any:
        """The file of a pass, of which no more than a step's labels are in memory."""
        path = self.plan.path(number)
        file: Any = safe_open(path, "pt")
        file.__enter__()  # and open for as long as its pass lasts
        keep, _, version = (file.metadata() or {}).get(_MADE, "").partition(" ")
        if version != str(VERSION):
            raise UserError(
                f"{path}: labels of version {version or '?'}, which this version ({VERSION}) cannot use; remove the "
                f"folder {self.folder} to make them again"
            )
        if keep != "logits" and not self._classifier:
            with safe_open(self.folder / _CLASSIFIER, "pt") as last:
                self._classifier = tuple(last.get_tensor(name).float() for name in ("weight", "bias"))
        return file
