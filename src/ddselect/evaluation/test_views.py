"""The views that students and teachers are tested on: decoded once, for all of them, into a file that is mapped."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ddselect.dataset.images import Box, square_box
from ddselect.dataset.index import Index, index_of
from ddselect.runtime.hardware import processors
from ddselect.runtime.progress import counting
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.validation import TestSet

FILE = "images.npy"
_TOGETHER = 256  # decoded images that wait to be written


def central_box(width: int, height: int, margin: float) -> Box:
    """What is left of an image after resizing its shorter side to ``margin`` times a size and centre-cropping to it."""
    x0, y0, x1, y1 = square_box(width, height)
    cut = round((x1 - x0) * (1 - 1 / margin) / 2)
    return x0 + cut, y0 + cut, x1 - cut, y1 - cut


def write_views(index: Index, size: int, margin: float, path: Path) -> None:
    """Writes the views of all images, (N, 3, size, size) uint8, as NumPy does; a few at a time, however many."""

    def view(row: int) -> bytes:
        return index.read(row, size, central_box(*index.sizes_at(row), margin)).numpy().tobytes()

    header = {"descr": "|u1", "fortran_order": False, "shape": (len(index), 3, size, size)}
    with (
        path.open("wb") as file,
        counting("test views", len(index), "images") as counter,
        ThreadPoolExecutor(processors()) as pool,  # decoding does not hold the interpreter's lock
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(index), _TOGETHER):
            for one in pool.map(view, range(start, min(start + _TOGETHER, len(index)))):
                file.write(one)
                counter.advance()


def first_of_each_class(index: Index, count: int) -> Index:
    """So many images of each class, the first by path; all of them for 0."""
    places = np.arange(len(index)) - np.searchsorted(index.labels, index.labels)  # within a class
    return index.take(np.flatnonzero(places < count)) if count else index


def _tested(trial: Trial) -> Index:
    settings = trial.experiment.evaluation
    return first_of_each_class(index_of(trial).split(settings.split), settings.images_per_class)


def run(trial: Trial, folder: Path) -> Facts:
    """The stage of the test views."""
    index = _tested(trial)
    write_views(index, trial.view, trial.protocol.margin(trial.view), folder / FILE)
    return {"test_images": len(index)}


def read_test_set(trial: Trial) -> TestSet:
    """The test images of a trial, with their labels."""
    labels = torch.from_numpy(_tested(trial).labels)
    images = np.load(trial.stages["test_views"].folder / FILE, mmap_mode="c")  # torch wants what may be written to
    return TestSet(torch.from_numpy(images), labels, trial.classes, trial.experiment.evaluation.batch_size)
