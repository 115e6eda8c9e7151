"""Boxes cut from images at one size, each image decoded once for all of its boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddselect.dataset.images import cut_image
from ddselect.dataset.index import Index


@dataclass(frozen=True)
class Boxes:
    """Boxes of the images of an index, and the size that they are resized to."""

    starts: np.ndarray  # (N + 1,) where each image's boxes begin among all, and the number of all
    boxes: np.ndarray  # (M, 4) x0, y0, x1, y1 in the files' pixels
    size: int  # side in pixels


class Cuts(Dataset[tuple[int, list[Tensor]]]):
    """For each image its row and one tensor (n, 3, size, size) uint8 for each group of boxes."""

    def __init__(self, index: Index, groups: Sequence[Boxes]) -> None:
        self.index, self.groups = index, groups

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> tuple[int, list[Tensor]]:
        image = self.index.decode(row)
        cuts = []
        for group in self.groups:
            boxes = group.boxes[group.starts[row] : group.starts[row + 1]].tolist()
            views = [cut_image(image, (x0, y0, x1, y1), group.size) for x0, y0, x1, y1 in boxes]
            cuts.append(torch.stack(views) if views else torch.empty(0, 3, group.size, group.size, dtype=torch.uint8))
        return row, cuts


@dataclass
class CutBatch:
    """The cuts of several images; not frozen, so that Lightning can move it to a device."""

    rows: list[int]  # the images' rows
    cuts: list[Tensor]  # for each group (n, 3, size, size) uint8, those of one image after those of another
    counts: list[list[int]]  # for each group the number of cuts of each image


def as_batch(images: list[tuple[int, list[Tensor]]]) -> CutBatch:
    """The cuts of several images as a batch."""
    rows, groups = [row for row, _ in images], list(zip(*(cuts for _, cuts in images), strict=True))
    return CutBatch(rows, [torch.cat(group) for group in groups], [[len(cuts) for cuts in group] for group in groups])
