"""Student training as a LightningModule: fixed steps, keyed randomness, tests at fixed marks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ddselect.evaluation.accuracy import Accuracy
from ddselect.protocol.recipe import Protocol
from ddselect.relabel.live import LiveTeacher, soft_label_loss
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.seeds import torch_generator
from ddselect.student.augment import crop_resize, flip, shuffle_patches
from ddselect.student.colour import jitter, lighting
from ddselect.student.mixing import Mix, cutmix, mixup
from ddselect.student.models import Classifier
from ddselect.student.optimizer import build_optimizer, build_schedule

Batch = tuple[Tensor, Tensor, Tensor, int]


@dataclass(frozen=True)
class TrainingSet:
    """A distilled set in memory.

    Attributes:
        images: (N, 3, S, S) uint8.
        labels: (N,) int64.
        factor: Patches per side of a stitched image.
        ipc: Images per class; None for the full data.
        stitched: (N,) bool, which images are stitched.
    """

    images: Tensor
    labels: Tensor
    stitched: Tensor
    factor: int
    ipc: int | None


class _Steps(IterableDataset[Batch]):
    """Batches of some steps: each pass over the set is a permutation keyed by its number, so any step can be redone."""

    def __init__(self, data: TrainingSet, batch: int, per_pass: int, steps: range, seed: int) -> None:
        self.data, self.batch, self.per_pass, self.steps, self.seed = data, batch, per_pass, steps, seed

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.data.labels)
        order, current = torch.empty(0), -1
        for step in self.steps:
            number, place = divmod(step, self.per_pass)
            if number != current:
                order, current = torch.randperm(count, generator=torch_generator(self.seed, "order", number)), number
            rows = order[place * self.batch : (place + 1) * self.batch]
            yield self.data.images[rows], self.data.labels[rows], self.data.stitched[rows], step


class StudentModule(pl.LightningModule):
    """Trains a classifier by a settled protocol.

    A Lightning epoch is the stretch between two tests, so that a checkpoint written after each one is all that an
    interrupted training needs to go on exactly.
    """

    def __init__(
        self,
        model: Classifier,
        data: TrainingSet,
        protocol: Protocol,
        learning_rate: float,
        seed: int,
        teacher: LiveTeacher | None,
        test: Callable[[Classifier], Accuracy],
    ) -> None:
        super().__init__()
        self.model, self.data, self.protocol, self.learning_rate, self.seed = model, data, protocol, learning_rate, seed
        self.labeller, self.test_on = teacher, test
        self.batch_size = protocol.batch(data.ipc, int(data.labels.max()) + 1, len(data.labels))
        self.per_epoch = protocol.steps_per_epoch(len(data.labels), self.batch_size)
        self.total = protocol.total_steps(len(data.labels), self.batch_size)
        self.marks = protocol.evaluation_steps(self.total)
        self.history: list[dict[str, float]] = []
        self._losses: list[Tensor] = []

    def train_dataloader(self) -> DataLoader[Batch]:
        first = self.marks[self.current_epoch - 1] if self.current_epoch else 0
        steps = range(first, self.marks[self.current_epoch])
        return DataLoader(_Steps(self.data, self.batch_size, self.per_epoch, steps, self.seed), batch_size=None)

    def augment(self, images: Tensor, stitched: Tensor, step: int) -> Mix:
        """Images (N, 3, S, S) uint8 to the mixed batch of a step: a pure function of the images, seed and step."""
        protocol, generator = self.protocol, torch_generator(self.seed, "augment", step)
        views = images.float() / 255
        if protocol.shuffle:
            shuffled = shuffle_patches(views, self.data.factor, generator)
            views = torch.where(stitched.to(views.device)[:, None, None, None], shuffled, views)
        area = [protocol.area[0] or 1 / self.data.factor, protocol.area[1]]
        views = crop_resize(views, area, protocol.ratio, protocol.shift, generator)
        if protocol.flip:
            views = flip(views, generator)
        if protocol.jitter:
            views = jitter(views, protocol.jitter, generator)
        if protocol.lighting:
            views = lighting(views, protocol.lighting, generator)
        if protocol.mixing == "none":
            return Mix(views, torch.arange(len(views), device=views.device), 1.0)
        return (cutmix if protocol.mixing == "cutmix" else mixup)(views, protocol.alpha, generator)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels, stitched, step = batch
        mix = self.augment(images, stitched, step)
        logits = self.model(mix.images).float()
        if self.labeller is not None:
            loss = soft_label_loss(logits, self.labeller(mix.images), self.protocol.loss, self.protocol.temperature)
        else:
            own, other = F.cross_entropy(logits, labels), F.cross_entropy(logits, labels[mix.partner])
            loss = mix.share * own + (1 - mix.share) * other
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        loss = float(torch.stack(self._losses).mean())
        if not isfinite(loss):
            raise NumericalError(
                f"student: the loss is not finite before step {self.global_step} (protocol {self.protocol.name}); "
                "lower protocol.learning_rate or set student.precision=fp32"
            )
        accuracy = self.test_on(self.model)
        self.model.train()
        row = {
            "step": float(self.global_step),
            "loss": loss,
            "top1": accuracy.top1,
            "top5": accuracy.top5,
            "images": float(accuracy.images),
        }
        self._losses = []
        self.history.append(row)
        self.log_dict({name: row[name] for name in ("loss", "top1", "top5")})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = build_optimizer(self.model, self.protocol, self.learning_rate)
        schedule = build_schedule(optimizer, self.protocol, self.total, self.per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
