"""The views that students and teachers are tested on: decoded once, for all of them, into a file that is mapped."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddselect.dataset.images import Box, square_box
from ddselect.dataset.index import Index, index_of
from ddselect.runtime.progress import counting
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.validation import TestSet

VERSION = 1
FILE = "images.npy"


class _Views(Dataset[Tensor]):
    """The test view (3, S, S) uint8 of each image of an index."""

    def __init__(self, index: Index, size: int, margin: float) -> None:
        self.index, self.size, self.margin = index, size, margin

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Tensor:
        return self.index.read(row, self.size, central_box(*self.index.sizes_at(row), self.margin))


def central_box(width: int, height: int, margin: float) -> Box:
    """What is left of an image after resizing its shorter side to ``margin`` times a size and centre-cropping to it."""
    x0, y0, x1, y1 = square_box(width, height)
    cut = round((x1 - x0) * (1 - 1 / margin) / 2)
    return x0 + cut, y0 + cut, x1 - cut, y1 - cut


def write_views(index: Index, size: int, margin: float, workers: int, path: Path) -> None:
    """Writes the views of all images, (N, 3, size, size) uint8, as NumPy does; one at a time, however many they are."""
    views = _Views(index, size, margin)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(index), 3, size, size)}
    with path.open("wb") as file, counting("test views", len(index), "images") as counter:
        np.lib.format.write_array_header_1_0(file, header)
        for view in DataLoader(views, batch_size=None, num_workers=workers):
            file.write(view.numpy().tobytes())
            counter.advance()


def run(trial: Trial, folder: Path) -> Facts:
    """The stage of the test views."""
    settings = trial.experiment.evaluation
    index = index_of(trial).split(settings.split)
    write_views(index, trial.view, trial.protocol.margin(trial.view), settings.workers, folder / FILE)
    return {"test_images": len(index)}


def read_test_set(trial: Trial) -> TestSet:
    """The test images of a trial, with their labels."""
    settings = trial.experiment.evaluation
    labels = torch.from_numpy(index_of(trial).split(settings.split).labels)
    images = np.load(trial.stages["test_views"].folder / FILE, mmap_mode="c")  # torch wants what may be written to
    return TestSet(torch.from_numpy(images), labels, trial.classes, settings.batch_size)
