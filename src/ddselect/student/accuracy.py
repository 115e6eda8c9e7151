"""Exact accuracy on real images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Subset

from ddselect.dataset.images import Box, square_box
from ddselect.dataset.index import Index, read_index
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.trial import Trial
from ddselect.student.models import Classifier

_IN_MEMORY = 2**30  # bytes of decoded test images that are kept


class Reading(Protocol):
    """How test images are read: images per call, and image-loading processes where they are not kept in memory."""

    batch_size: int
    workers: int


@dataclass(frozen=True)
class Accuracy:
    """Accuracy in percent over all test images, each counted once.

    Attributes:
        confusion: (M, 3) int64: a class, one that its images were taken for, and how many of them were; pairs that did
            not occur are left out.
    """

    top1: float  # top-1 accuracy, 0 to 100
    top5: float  # top-5 accuracy (top-K for K < 5 classes), 0 to 100
    images: int  # number of test images
    confusion: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.int64), compare=False, repr=False)


class TestSet(Dataset[tuple[Tensor, int]]):
    """Test views (3, S, S) uint8 with their labels; decoded once if they fit in memory."""

    def __init__(self, index: Index, size: int, margin: float) -> None:
        self.index, self.size, self.margin = index, size, margin
        self.labels = index.labels
        self.kept: list[Tensor | None] | None = [None] * len(index) if len(index) * 3 * size**2 < _IN_MEMORY else None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = self.kept[row] if self.kept is not None else None
        if image is None:
            box = central_box(*self.index.sizes_at(row), self.margin)
            image = self.index.read(row, self.size, box)
            if self.kept is not None:
                self.kept[row] = image
        return image, int(self.labels[row])


@lru_cache(maxsize=2)
def _test_set(index: Path, place: Path, split: str, size: int, margin: float) -> TestSet:
    """The test views of a finished index; read when first needed and kept for the next students."""
    return TestSet(read_index(index, place).split(split), size, margin)


def tester(trial: Trial, protocol: ProtocolConfig, together: bool) -> Callable[[Classifier], Accuracy]:
    """Measures a model's accuracy on a protocol's test views; over all ranks where they work together."""
    e, index, margin = trial.experiment, trial.stages["index"].folder, protocol.margin(trial.view)

    def test(model: Classifier) -> Accuracy:
        test_set = _test_set(index, e.dataset.place, e.evaluation.split, trial.view, margin)
        return measure(model, test_set, e.evaluation, e.trainer.device, together)

    return test


def central_box(width: int, height: int, margin: float) -> Box:
    """What is left of an image after resizing its shorter side to ``margin`` times a size and centre-cropping to it."""
    x0, y0, x1, y1 = square_box(width, height)
    cut = round((x1 - x0) * (1 - 1 / margin) / 2)
    return x0 + cut, y0 + cut, x1 - cut, y1 - cut


def measure(
    model: Classifier, test_set: TestSet, settings: Reading, device: torch.device, together: bool = False
) -> Accuracy:
    """Accuracy of a model, put into evaluation mode; the denominator is the number of test images.

    With ``together`` each rank, all of which have the same model, measures its own images, and all learn the accuracy.
    """
    rank, ranks = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    rows = range(rank, len(test_set), ranks)
    predicted = torch.zeros(len(test_set), dtype=torch.int64, device=device)
    hits, predicted[rows.start :: rows.step] = count_hits(model, test_set, rows, settings, device)
    if together:
        distributed.all_reduce(hits)
        distributed.all_reduce(predicted)
    top1, top5 = (100 * number / len(test_set) for number in hits.sum(0).tolist())
    answers = np.stack([test_set.labels, predicted.cpu().numpy()], 1)
    pairs, counts = np.unique(answers, axis=0, return_counts=True)
    confusion = torch.from_numpy(np.concatenate([pairs, counts[:, None]], 1))
    return Accuracy(top1, top5, len(test_set), confusion)


@torch.inference_mode()
def count_hits(
    model: Classifier, test_set: TestSet, rows: range, settings: Reading, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What a model makes of the test images in some rows.

    Returns:
        (K, 2) int64: how many of each class are right in the first place, and in the first five; of fewer than five
        classes all places count. And (N,) int64: the class that each image is taken for.
    """
    model.to(device).eval()
    classes = len(test_set.index.class_names)
    hits = torch.zeros(classes, 2, dtype=torch.int64, device=device)
    loader = DataLoader(Subset(test_set, rows), settings.batch_size, num_workers=settings.workers)
    predicted = [torch.zeros(0, dtype=torch.int64, device=device)]
    for images, labels in loader:
        labels = labels.to(device)
        logits = model(images.to(device).float() / 255).float()
        predicted.append(logits.argmax(1))
        in_five = (logits.topk(min(5, classes)).indices == labels[:, None]).any(1)
        hits.index_add_(0, labels, torch.stack([predicted[-1] == labels, in_five], 1).long())
    return hits, torch.cat(predicted)
