"""Scoring as Lightning prediction: images in, finished shards out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.images import view_to_source
from ddselect.dataset.index import Index
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.companions import working_together
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.progress import Counter, counting, note
from ddselect.scoring.candidates import candidates
from ddselect.scoring.scorer import LossError, Maps, best_boxes, difference_maps, image_scores
from ddselect.scoring.settings import Scoring
from ddselect.scoring.shards import MAP_SIDE, ShardBatches, ShardPlan


class ScoringModule(pl.LightningModule):
    """Wraps the scorer: a predict step turns a batch of images into rows of the score table."""

    def __init__(self, denoiser: Denoiser, conditions: Conditions, settings: Scoring, index: Index, view: int) -> None:
        super().__init__()
        self.denoiser, self.conditions, self.settings = denoiser, conditions, settings
        self.index, self.view = index, view
        self.hashes = index.table["hash"].to_pylist()
        self.labels, self.ids = index.labels, index.ids
        self.draws = settings.make_draws()
        self._lanes, self._at_once = 1, settings.batch_size

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> list[dict[str, object]]:
        """Rows (:data:`ddselect.scoring.shards.SCHEMA`) for (images (N, 3, S, S) uint8, row numbers (N,))."""
        images, numbers = batch
        rows = numbers.tolist()
        positive = torch.tensor([self.conditions.positive[self.labels[row]] for row in rows], device=self.device)
        hashes = [self.hashes[row] for row in rows]
        try:
            maps = self._maps(images, hashes, positive)
        except LossError as error:
            raise NumericalError(f"image {self.ids[rows[error.position]]}: {error}") from None
        cell = self.view // maps.difference.shape[-1]
        side = max(1, round(self.settings.box * maps.difference.shape[-1]))
        boxes = best_boxes(maps, side, self.settings.boxes, self.settings.sigma * side or None)
        scores = image_scores(maps).tolist()
        planes = F.adaptive_avg_pool2d(maps.difference, min(MAP_SIDE, maps.difference.shape[-1])).half().cpu().numpy()
        corners = (torch.cat([boxes.corner, boxes.corner + side], -1) * cell).cpu().numpy()
        result = []
        for i, row in enumerate(rows):
            found = boxes.score[i].isfinite()
            source = view_to_source(corners[i][found.cpu().numpy()], *self.index.sizes_at(row), self.view)
            result.append(
                {
                    "id": self.ids[row],
                    "label": int(self.labels[row]),
                    "image_score": scores[i],
                    "boxes": source.ravel().tolist(),
                    "scores": boxes.score[i][found].tolist(),
                    "differences": boxes.difference[i][found].tolist(),
                    "losses": boxes.loss[i][found].tolist(),
                    "map": planes[i].tobytes(),
                    "map_side": planes.shape[-2],
                }
            )
        return result

    def on_predict_start(self) -> None:
        self._lanes = torch.get_num_threads() if self.device.type == "cpu" else 1
        torch.set_num_threads(1 if self._lanes > 1 else torch.get_num_threads())

    def on_predict_end(self) -> None:
        torch.set_num_threads(max(self._lanes, torch.get_num_threads()))

    def _maps(self, images: Tensor, hashes: list[str], positive: Tensor) -> Maps:
        """Maps of a batch. On a processor each thread takes its own part of it, which never waits for the others'."""

        def part(rows: range) -> Maps:
            parts, start = [], rows.start
            while start < rows.stop:
                stop = min(start + self._at_once, rows.stop)
                try:
                    parts.append(self._direct(images[start:stop], hashes[start:stop], positive[start:stop]))
                    start = stop
                except LossError as error:
                    raise LossError(str(error), start + error.position) from None
                except torch.OutOfMemoryError:
                    self._halve(stop - start)
            return joined(parts)

        size = -(-len(images) // self._lanes)
        lanes = [range(start, min(start + size, len(images))) for start in range(0, len(images), size)]
        if len(lanes) == 1:
            return part(lanes[0])
        with ThreadPoolExecutor(len(lanes)) as pool:
            return joined(list(pool.map(part, lanes)))

    def _direct(self, images: Tensor, hashes: list[str], positive: Tensor) -> Maps:
        return difference_maps(self.denoiser, images, hashes, positive, self.conditions.reference, self.draws)

    def _halve(self, images: int) -> None:
        """From now on at most half as many images go to the device at once; each rank finds its own number."""
        if images == 1:
            raise UserError(
                f"backbone {self.denoiser.title}: the device's memory is too small for a single image; try "
                "backbone.dtype=bf16 or a smaller backbone.image_size"
            ) from None
        torch.cuda.empty_cache()
        self._at_once = min(self._at_once, -(-images // 2))
        note(f"  [yellow]out of memory: {self._at_once} images at once from here on[/yellow]")


def joined(parts: list[Maps]) -> Maps:
    """The maps of several batches as those of one."""
    return Maps(torch.cat([maps.difference for maps in parts]), torch.cat([maps.loss for maps in parts]))


class _Views(Dataset[tuple[Tensor, int]]):
    """Square views of the images of an index, with their row numbers."""

    def __init__(self, index: Index, size: int) -> None:
        self.index, self.size = index, size

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.index.read(row, self.size), row


class ScoringData(pl.LightningDataModule):
    """The images of the missing shards, whole shards for each rank."""

    def __init__(self, index: Index, plan: ShardPlan, shards: list[int], settings: Scoring, view: int) -> None:
        super().__init__()
        self.index, self.plan, self.shards, self.settings, self.view = index, plan, shards, settings, view
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer shards than ranks

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        batches = ShardBatches(self.plan, self.shards, self.settings.batch_size, rank, ranks)
        workers = self.settings.workers
        return DataLoader(_Views(self.index, self.view), batch_sampler=batches, num_workers=workers)


class ShardWriter(Callback):
    """Collects rows and writes each shard as soon as it is whole."""

    def __init__(self, plan: ShardPlan, counter: Counter) -> None:
        self.plan, self.counter = plan, counter
        self.rows: list[dict[str, object]] = []

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.rows += outputs
        shard = int(batch[1][0]) // self.plan.size
        if len(self.rows) == len(self.plan.range(shard)):
            self.plan.write(shard, self.rows)
            self.rows = []
        self.counter.advance(len(outputs) * trainer.world_size)  # the other ranks are about as far


def score_images(
    index: Index,
    denoiser: Denoiser,
    conditions: Conditions,
    settings: Scoring,
    view: int,
    make_trainer: Callable[[list[Callback]], pl.Trainer],
    folder: Path,
) -> dict[str, object]:
    """Scores the images whose shards are missing and writes the merged table.

    Args:
        index: The images.
        denoiser: The diffusion prior.
        conditions: Positive and reference condition of each class.
        settings: How to score.
        view: Side in pixels of the square view.
        make_trainer: Makes a trainer with the given callbacks.
        folder: Where shards are, or will be.

    Raises:
        UserError: An image cannot be read, or the view does not suit the backbone.
        NumericalError: A loss is not finite.
    """
    denoiser.latent_shape(view)
    everything, index = len(index), candidates(index, settings.cap, settings.seed)
    if len(index) < everything:
        note(f"  {len(index)} of {everything} images, at most {settings.cap} of each class (scoring.cap)")
    denoiser.install(conditions.table)
    plan = ShardPlan(folder, len(index), settings.shard_size)
    missing = plan.missing()
    todo = sum(len(plan.range(shard)) for shard in missing)
    is_first = True
    if missing:
        with counting("scoring", todo, "images") as counter:
            trainer = make_trainer([ShardWriter(plan, counter)])
            module = ScoringModule(denoiser, conditions, settings, index, view)
            data = ScoringData(index, plan, missing, settings, view)
            with working_together(trainer):
                trainer.predict(module, datamodule=data, return_predictions=False)
            is_first = trainer.is_global_zero
    if is_first:
        plan.merge()
    return {
        "images": len(index),
        "images_left_out": everything - len(index),
        "images_scored_last": todo,
        "network_evaluations_per_image": evaluations(conditions, settings),
    }


def evaluations(conditions: Conditions, settings: Scoring) -> int:
    """Network evaluations that one image costs."""
    return settings.draws * (1 if conditions.reference is None else 2)
