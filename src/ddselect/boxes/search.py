"""The boxes stage: the best boxes of every image, from the maps that scoring kept, without the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.images import view_to_source
from ddselect.dataset.index import Index, images_of
from ddselect.runtime.files import write_table
from ddselect.runtime.progress import counting
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.maps import Maps, read_image_scores, read_shards
from ddselect.scoring.table import MERGED, SCHEMA


def run(trial: Trial, folder: Path) -> Facts:
    """The boxes stage."""
    images = images_of(trial)
    return search_boxes(images, trial.stages["scoring"].folder, trial.experiment.boxes, folder)


def search_boxes(index: Index, scoring: Path, settings: BoxesConfig, folder: Path) -> dict[str, object]:
    """Writes the score table of a finished scoring: ``scores.parquet`` of :data:`ddselect.scoring.table.SCHEMA`.

    The score of an image is that of scoring or, where there was no reference condition and the mean difference is zero,
    that of its best box: how far this stands out.
    """
    table = read_image_scores(scoring)
    index = scored_images(index, table)
    boxes: list[list[int]] = []
    scores: list[list[float]] = []
    with counting("boxes", len(index), "images") as counter:
        for ids, maps in read_shards(scoring):
            found, values = image_boxes(maps, settings)
            corners = torch.cat([found.corner, found.corner + found.side[..., None]], -1).numpy()
            for number, exists in enumerate(found.exists.numpy()):
                size, side = index.sizes_at(len(boxes)), maps.difference.shape[-1]
                boxes.append(view_to_source(corners[number][exists], *size, side).ravel().tolist())
                scores.append(values[number][exists].tolist())
            counter.advance(len(ids))
    best = pa.array([of_image[0] for of_image in scores], pa.float32())
    columns = [table["id"], table["label"], pc.coalesce(table["image_score"], best), boxes, scores]
    write_table(folder / MERGED, pa.table(columns, schema=SCHEMA))
    return {"images": len(index), "boxes": sum(map(len, scores))}


@dataclass(frozen=True)
class Boxes:
    """The best boxes of each image, best place first."""

    corner: Tensor  # (N, K, 2) int64 x0, y0 in map positions
    side: Tensor  # (N, K) int64 in map positions
    exists: Tensor  # (N, K) bool: False where an image has no room for K boxes

    def mean(self, plane: Tensor) -> Tensor:
        """(N, K) float32 means of a plane (N, h, w) in the boxes."""
        means = torch.zeros_like(self.side, dtype=plane.dtype)
        for side in torch.unique(self.side).tolist():
            pooled = F.avg_pool2d(plane[:, None], side, 1)[:, 0]
            x, y = self.corner.clamp(max=pooled.shape[-1] - 1).unbind(-1)  # those of other sides are not taken
            found = pooled.flatten(1).gather(1, y * pooled.shape[-1] + x)
            means = torch.where(self.side == side, found, means)
        return means


def image_boxes(maps: Maps, settings: BoxesConfig) -> tuple[Boxes, Tensor]:
    """The boxes of some images, and their scores (N, K) float32.

    The score of a box is its mean difference times its side as a share of the largest size to
    the power 2 - 2 ``exponent``: in proportion to what boxes of different sizes compete by when they are placed, and
    exactly the mean where there is one size.
    """
    side, power = maps.difference.shape[-1], 2 - 2 * settings.exponent
    lengths = sorted({max(1, round(size * side)) for size in settings.sizes})
    windows = [(length / lengths[-1]) ** power * window(length, settings.sigma * length or None) for length in lengths]
    placement = maps.placement(settings.prediction_shift_weight)
    boxes = best_boxes(placement, windows, settings.per_image, settings.overlap)
    return boxes, boxes.mean(maps.difference) * (boxes.side / lengths[-1]) ** power


def window(side: int, sigma: float | None) -> Tensor:
    """(side, side) float32 weights that sum to 1: a centred Gaussian, or flat if ``sigma`` (in positions) is None."""
    if sigma is None:
        return torch.full((side, side), 1 / side**2)
    distance = torch.arange(side) - (side - 1) / 2
    line = torch.exp(-(distance**2) / (2 * sigma**2))
    plane = line[:, None] * line[None, :]
    return plane / plane.sum()


def best_boxes(placement: Tensor, windows: Sequence[Tensor], count: int, overlap: float = 0.0) -> Boxes:
    """Greedy search for the best boxes, of one size or several.

    A box goes where the window-weighted sum of the positive part of ``placement`` is largest: negative positions must
    not push it off its object. It is clamped after averaging over draws, never before. A box's score has neither window
    nor clamp, so that few draws make it noisy but do not shift it.

    ``windows`` are for each size the weights (side, side) of the positions in a box: those of :func:`window` sum to 1,
    so that of several sizes the one with the highest mean wins. ``placement`` is (N, h, w), see :meth:`Maps.placement`;
    ``count`` is K; two boxes of an image overlap by ``overlap`` at most: intersection over union, from 0 to below 1.
    """
    positive, values, lines = placement.clamp(min=0)[:, None], [], []
    for weights in windows:
        found = F.conv2d(positive, weights.to(placement.device)[None, None])[:, 0]
        ticks = (torch.arange(length, device=placement.device) for length in found.shape[1:])
        y, x = torch.meshgrid(*ticks, indexing="ij")
        lines.append(torch.stack([x.flatten(), y.flatten(), torch.full_like(x, len(weights)).flatten()]))
        values.append(found.flatten(1))
    free, (x, y, side) = torch.cat(values, 1), torch.cat(lines, 1)
    picks, exists = [], []
    for _ in range(count):
        best, pick = free.max(1)
        picks.append(pick)
        exists.append(best.isfinite())
        mine = pick[:, None]
        common = _shared(x, x[mine], side, side[mine]) * _shared(y, y[mine], side, side[mine])
        union = side**2 + side[mine] ** 2 - common
        free = free.masked_fill(common > overlap * union, float("-inf"))
    index = torch.stack(picks, 1)
    return Boxes(torch.stack([x[index], y[index]], -1), side[index], torch.stack(exists, 1))


def _shared(start: Tensor, other: Tensor, length: Tensor, others: Tensor) -> Tensor:
    """Length that two intervals have in common."""
    return (torch.minimum(start + length, other + others) - torch.maximum(start, other)).clamp(min=0)
