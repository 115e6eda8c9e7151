"""Exact accuracy on real images."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Subset

from ddselect.dataset.images import Box, square_box
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution
from ddselect.student.models import Classifier

_IN_MEMORY = 2**30  # bytes of decoded test images that are kept


@dataclass
class EvaluationConfig:
    """The ``evaluation`` group; see ``conf/evaluation/``.

    Attributes:
        split: Split whose images a student is tested on.
        batch_size: Images per call.
        workers: Image-loading processes, for test sets that are not kept in memory.
        dd_ranking: Whether what DD-Ranking's scores need is trained too, and the scores are given.
        quality: Whether every distilled set is compared with the real images in the teacher's features.
    """

    split: str = "test"
    batch_size: int = execution(500)
    workers: int = execution(0)
    dd_ranking: bool = False
    quality: bool = True

    def __post_init__(self) -> None:
        if self.split not in ("test", "val"):
            raise UserError(f"evaluation.split={self.split}: choose test or val")
        if self.batch_size < 1 or self.workers < 0:
            raise UserError("evaluation: batch_size must be at least 1, workers 0 or more")


@dataclass(frozen=True)
class Accuracy:
    """Accuracy in percent over all test images, each counted once.

    Attributes:
        top1: Top-1 accuracy, 0 to 100.
        top5: Top-5 accuracy (top-K for K < 5 classes), 0 to 100.
        images: Number of test images.
        confusion: (M, 3) int64: a class, one that its images were taken for, and how many of them were; pairs that did
            not occur are left out.
    """

    top1: float
    top5: float
    images: int
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


def central_box(width: int, height: int, margin: float) -> Box:
    """What is left of an image after resizing its shorter side to ``margin`` times a size and centre-cropping to it."""
    x0, y0, x1, y1 = square_box(width, height)
    cut = round((x1 - x0) * (1 - 1 / margin) / 2)
    return x0 + cut, y0 + cut, x1 - cut, y1 - cut


def measure(
    model: Classifier, test_set: TestSet, settings: EvaluationConfig, device: torch.device, together: bool = False
) -> Accuracy:
    """Accuracy of a model, put into evaluation mode; the denominator is the number of test images.

    Args:
        model: The model; each rank has the same.
        test_set: The test images.
        settings: How they are read.
        device: Where to compute.
        together: Whether all ranks measure, each its own images, and all learn the accuracy.
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
    model: Classifier, test_set: TestSet, rows: range, settings: EvaluationConfig, device: torch.device
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
