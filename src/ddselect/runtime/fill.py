"""Filling shards: a LightningModule's predictions for every row of a dataset, over all ranks, each shard once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from ddselect.runtime.hardware import processors
from ddselect.runtime.integrity import sealed
from ddselect.runtime.parallel import working_together
from ddselect.runtime.progress import Counter, counting
from ddselect.runtime.shards import ShardBatches, ShardPlan

MakeTrainer = Callable[[list[Callback]], pl.Trainer]
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Loading:
    """How rows are read.

    Attributes:
        workers: Reading processes of each rank; 0 reads in the rank itself, -1 stands for as many as the processors
            allow beside a GPU, and none where the processors compute themselves.
    """

    batch_size: int  # rows per batch
    workers: int
    collate: Callable[[list[Any]], Any] | None = None  # makes a batch of rows; torch's default if None

    def workers_of(self, trainer: pl.Trainer) -> int:
        """Reading processes of one rank."""
        if self.workers >= 0:
            return self.workers
        if trainer.strategy.root_device.type == "cpu":
            return 0
        return min(_MOST_WORKERS, max(1, processors() // trainer.num_devices - 1))


class _ShardData(pl.LightningDataModule):
    """The rows of the missing shards, whole shards for each rank."""

    def __init__(self, dataset: Dataset[Any], plan: ShardPlan, shards: list[int], loading: Loading) -> None:
        super().__init__()
        self.dataset, self.plan, self.shards, self.loading = dataset, plan, shards, loading
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer shards than ranks

    def predict_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        batches = ShardBatches(self.plan, self.shards, self.loading.batch_size, rank, ranks)
        workers = self.loading.workers_of(self.trainer)
        return DataLoader(self.dataset, batch_sampler=batches, num_workers=workers, collate_fn=self.loading.collate)


class _ShardWriter(Callback):
    """Collects the predictions of a shard's rows and hands them on as soon as all are there."""

    def __init__(
        self, plan: ShardPlan, shards: list[int], write: Callable[[Path, list[Any]], None], counter: Counter
    ) -> None:
        self.plan, self.shards, self.write, self.counter = plan, shards, write, counter
        self.rows: list[Any] = []

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.mine = iter(self.shards[trainer.global_rank :: trainer.world_size])
        self.current = next(self.mine, -1)

    def on_predict_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: object) -> None:
        self.rows += outputs
        if len(self.rows) == len(self.plan.range(self.current)):
            with sealed(self.plan.path(self.current)) as path:
                self.write(path, self.rows)
            self.rows, self.current = [], next(self.mine, -1)
        self.counter.advance(len(outputs) * trainer.world_size)  # the other ranks are about as far


def fill_shards(
    plan: ShardPlan,
    module: Callable[[], pl.LightningModule],
    dataset: Dataset[Any],
    write: Callable[[Path, list[Any]], None],
    make_trainer: MakeTrainer,
    loading: Loading,
    name: str,
    unit: str = "images",
) -> int:
    """Computes the missing shards.

    The module's predict step turns a batch of the dataset into a list with one entry for each row, and ``write`` writes
    the entries of a shard to its file. ``make_trainer`` makes a trainer over all ranks with the given callbacks.
    Returned is the number of rows that were missing.
    """
    plan.forget_others()
    missing = plan.missing()
    todo = sum(len(plan.range(shard)) for shard in missing)
    if not missing:
        return 0
    with counting(name, todo, unit) as counter:
        trainer = make_trainer([_ShardWriter(plan, missing, write, counter)])
        data = _ShardData(dataset, plan, missing, loading)
        with working_together(trainer):
            trainer.predict(module(), datamodule=data, return_predictions=False)
    return todo
