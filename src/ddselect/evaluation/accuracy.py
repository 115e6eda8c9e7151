"""Exact accuracy on real images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddselect.dataset.images import Box, square_box
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution
from ddselect.student.models import Classifier

_IN_MEMORY = 2**30  # bytes of decoded test images that are kept


@dataclass
class Evaluation:
    """The ``evaluation`` group; see ``conf/evaluation/``.

    Attributes:
        split: Split whose images a student is tested on.
        batch_size: Images per call.
        workers: Image-loading processes, for test sets that are not kept in memory.
    """

    split: str = "test"
    batch_size: int = execution(500)
    workers: int = execution(0)

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
    """

    top1: float
    top5: float
    images: int


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


@torch.inference_mode()
def measure(model: Classifier, test_set: TestSet, settings: Evaluation, device: torch.device) -> Accuracy:
    """Accuracy of a model, put into evaluation mode; the denominator is the number of test images."""
    from torchmetrics.classification import MulticlassAccuracy

    model.to(device).eval()
    classes = len(test_set.index.class_names)
    metrics = {k: MulticlassAccuracy(classes, top_k=min(k, classes), average="micro").to(device) for k in (1, 5)}
    loader = DataLoader(test_set, settings.batch_size, num_workers=settings.workers)
    for images, labels in loader:
        logits = model(images.to(device).float() / 255).float()
        for metric in metrics.values():
            metric.update(logits, labels.to(device))
    # the metric divides in float32: the number of hits gives the exact quotient back
    top1, top5 = (100 * round(float(metrics[k].compute()) * len(test_set)) / len(test_set) for k in (1, 5))
    return Accuracy(top1, top5, len(test_set))
