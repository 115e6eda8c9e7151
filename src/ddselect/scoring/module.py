"""Scoring as Lightning prediction: images or their latents in, finished shards out."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.ranks import rank
from ddselect.scoring.at_once import AtOnce
from ddselect.scoring.latents import KeptLatents, Views
from ddselect.scoring.maps import Maps, joined, map_shards, packed, write_rows
from ddselect.scoring.scorer import LossError, difference_maps
from ddselect.scoring.settings import ScoringConfig


class ScoringModule(pl.LightningModule):
    """Wraps the scorer: a predict step turns a batch of images into rows of maps."""

    def __init__(
        self,
        denoiser: Denoiser,
        conditions: Conditions,
        settings: ScoringConfig,
        index: Index,
        at_once: AtOnce,
    ) -> None:
        super().__init__()
        self.denoiser, self.conditions, self.settings = denoiser, conditions, settings
        self.at_once = at_once
        self.hashes = index.table["hash"].to_pylist()
        self.labels, self.ids = index.labels, index.ids
        self.draws = settings.make_draws()
        self._lanes = 1

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> list[dict[str, object]]:
        """Rows (:data:`ddselect.scoring.maps.SCHEMA`) for a batch and its row numbers (N,).

        The batch is of images (N, 3, S, S) uint8, or of kept latents (N, C, h, w) float16.
        """
        images, numbers = batch
        rows = numbers.tolist()
        positive = torch.tensor([self.conditions.positive[self.labels[row]] for row in rows], device=self.device)
        hashes = [self.hashes[row] for row in rows]
        try:
            maps = self._maps(images, hashes, positive)
        except LossError as error:
            raise NumericalError(f"image {self.ids[rows[error.position]]}: {error}") from None
        scores: list[float | None] = [None] * len(rows)
        if self.conditions.reference is not None:
            scores = maps.image_score.tolist()
        difference, shift = packed(maps.difference), packed(maps.prediction_shift)
        return [
            {
                "id": self.ids[row],
                "label": int(self.labels[row]),
                "image_score": scores[i],
                "difference": difference[i].tobytes(),
                "prediction_shift": shift[i].tobytes(),
            }
            for i, row in enumerate(rows)
        ]

    def on_predict_start(self) -> None:
        own_threads = self.device.type == "cpu" and not self.denoiser.is_compiled
        self._lanes = torch.get_num_threads() if own_threads else 1
        torch.set_num_threads(1 if self._lanes > 1 else torch.get_num_threads())

    def on_predict_end(self) -> None:
        torch.set_num_threads(max(self._lanes, torch.get_num_threads()))

    def _maps(self, images: Tensor, hashes: list[str], positive: Tensor) -> Maps:
        """Maps of a batch. On a processor each thread takes its own part of it, which never waits for the others'."""

        def part(rows: range) -> Maps:
            parts, start = [], rows.start
            while start < rows.stop:
                size = self.at_once()
                stop = min(start + size, rows.stop)
                try:
                    parts.append(self._direct(images[start:stop], hashes[start:stop], positive[start:stop], size))
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

    def _direct(self, images: Tensor, hashes: list[str], positive: Tensor, size: int) -> Maps:
        count, latents = len(images), self.denoiser.encode(images) if images.dtype == torch.uint8 else images.float()
        more = size - count if self.denoiser.is_compiled else 0  # a compiled network is for one batch size
        latents = torch.cat([latents, latents[-1:].expand(more, -1, -1, -1)])
        positive = torch.cat([positive, positive[-1:].expand(more)])
        hashes = [*hashes, *hashes[-1:] * more]
        reference, weight = self.conditions.reference, self.settings.cross_draw_weight
        maps = difference_maps(self.denoiser, latents, hashes, positive, reference, self.draws, weight)
        return Maps(maps.difference[:count], maps.prediction_shift[:count], maps.image_score[:count])

    def _halve(self, images: int) -> None:
        if images == 1:
            raise UserError(
                f"backbone {self.denoiser.title}: the device's memory is too small for a single image; try "
                "backbone.dtype=bf16 or a smaller backbone.image_size"
            ) from None
        torch.cuda.empty_cache()
        self.at_once.halve(images)


def score_images(
    index: Index,
    denoiser: Denoiser,
    conditions: Conditions,
    settings: ScoringConfig,
    view: int,
    make_trainer: MakeTrainer,
    folder: Path,
    latents: KeptLatents | None = None,
) -> dict[str, object]:
    """Scores the images whose shards are missing: ``shard-*.parquet`` of :data:`ddselect.scoring.maps.SCHEMA`.

    ``view`` is the side in pixels of the square view. Where the images' latents are not kept they are made from the
    images' files.

    Raises:
        UserError: An image cannot be read, or the view does not suit the backbone.
        NumericalError: A loss is not finite.
    """
    denoiser.latent_shape(view)
    denoiser.install(conditions.table)
    plan, at_once = map_shards(folder, len(index), settings.shard_size), AtOnce(folder, settings.batch_size)
    if rank() == 0:  # before the ranks meet: an earlier attempt may have had less memory
        at_once.forget()
    todo = fill_shards(
        plan,
        lambda: ScoringModule(denoiser, conditions, settings, index, at_once),
        Views(index, view) if latents is None else latents.of(index),
        write_rows,
        make_trainer,
        Loading(settings.batch_size, settings.workers),
        "scoring",
    )
    if rank() == 0:
        at_once.forget()
    return {
        "images": len(index),
        "images_scored_last": todo,
        "network_evaluations_per_image": evaluations(conditions, settings),
    }


def evaluations(conditions: Conditions, settings: ScoringConfig) -> int:
    """Network evaluations that one image costs."""
    return settings.evaluations(1 if conditions.reference is None else 2)
