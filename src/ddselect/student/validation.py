"""A classifier on test images, by Lightning's validation loop."""

from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddselect.runtime.hardware import threads
from ddselect.runtime.rows import Rows
from ddselect.student.accuracy import Accuracy, accuracy_of, metrics_for
from ddselect.student.models import Classifier

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TestSet(Dataset[Batch]):
    """Test images in memory, or in a file."""

    images: Rows  # (N, 3, S, S) uint8
    labels: Tensor  # (N,) int64
    classes: int
    batch_size: int = 500  # images per call

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> Batch:
        """The images and labels in some (n,) rows."""
        return self.images[rows], self.labels[rows]

    def batches(self, rank: int, ranks: int) -> list[Tensor]:
        """The rows of a rank's batches: each row once among all ranks, and equally many batches, if of other sizes.

        DDP has the ranks wait for each other at every batch.
        """
        most = -(-len(self) // ranks)
        return list(torch.arange(len(self))[rank::ranks].tensor_split(-(-most // self.batch_size)))


class Validated(pl.LightningModule):
    """A classifier that is validated on test images, in the precision of its training.

    Attributes:
        accuracy: What the last validation found, over all ranks.
    """

    accuracy: Accuracy

    def __init__(self, model: Classifier, tests: TestSet) -> None:
        super().__init__()
        self.model, self.test_set = model, tests
        self.metrics = metrics_for(tests.classes, self._is_shared)

    @property
    def tested(self) -> Classifier:
        """What is validated."""
        return self.model

    def _is_shared(self) -> bool:
        """Whether each rank has images of its own; fewer images than ranks are measured by all."""
        return 1 < self.trainer.world_size <= len(self.test_set)

    def val_dataloader(self) -> DataLoader[Batch]:
        batches = self.test_set.batches(*((self.global_rank, self.trainer.world_size) if self._is_shared() else (0, 1)))
        return DataLoader(self.test_set, batch_size=None, sampler=batches)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        if len(labels):  # a rank with fewer images than another may have none left
            self.metrics.update(self.tested(images.float() / 255).float(), labels)

    def on_validation_epoch_end(self) -> None:
        self.accuracy = accuracy_of(self.metrics)
        self.metrics.reset()


def validate(model: Classifier, tests: TestSet, make_trainer: Callable[..., pl.Trainer]) -> Accuracy:
    """The accuracy of a finished classifier, with all processors that are there."""
    module, before = Validated(model, tests), torch.get_num_threads()
    trainer = make_trainer(enable_checkpointing=False)
    torch.set_num_threads(threads())
    trainer.validate(module, verbose=False)
    torch.set_num_threads(before)
    return module.accuracy
