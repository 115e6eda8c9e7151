"""Student training as a LightningModule: fixed steps, keyed randomness, tests at fixed marks."""

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ddselect.evaluation.accuracy import Accuracy
from ddselect.relabel.live import soft_label_loss
from ddselect.runtime.errors import NumericalError
from ddselect.student.models import Classifier
from ddselect.student.optimizer import build_optimizer, build_schedule
from ddselect.student.views import Batch, Views

Labeller = Callable[[Tensor, int], Tensor]


class _Steps(IterableDataset[Batch]):
    """The batches of some steps."""

    def __init__(self, views: Views, steps: range) -> None:
        self.views, self.steps = views, steps

    def __iter__(self) -> Iterator[Batch]:
        return map(self.views.batch, self.steps)


class StudentModule(pl.LightningModule):
    """Trains a classifier by a settled protocol.

    A Lightning epoch is the stretch between two tests, so that a checkpoint written after each one is all that an
    interrupted training needs to go on exactly.
    """

    def __init__(
        self,
        model: Classifier,
        views: Views,
        labeller: Labeller | None,
        test: Callable[[Classifier], Accuracy],
    ) -> None:
        """A training.

        Args:
            model: The untrained student.
            views: What it sees, and the protocol.
            labeller: Gives logits (N, K) for the mixed images (N, 3, S, S) of a step; None for class labels.
            test: Measures the accuracy on the test images.
        """
        super().__init__()
        self.model, self.views, self.protocol = model, views, views.protocol
        self.labeller, self.test_on = labeller, test
        self.marks = self.protocol.evaluation_steps(views.total)
        self.history: list[dict[str, float]] = []
        self._losses: list[Tensor] = []

    def train_dataloader(self) -> DataLoader[Batch]:
        first = self.marks[self.current_epoch - 1] if self.current_epoch else 0
        return DataLoader(_Steps(self.views, range(first, self.marks[self.current_epoch])), batch_size=None)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels, stitched, step = batch
        mix = self.views.mixed(images, stitched, step)
        logits = self.model(mix.images).float()
        if self.labeller is not None:
            target = self.labeller(mix.images, step)
            loss = soft_label_loss(logits, target, self.protocol.loss, self.protocol.temperature)
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
        optimizer = build_optimizer(self.model, self.protocol)
        schedule = build_schedule(optimizer, self.protocol, self.views.total, self.views.per_pass)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
