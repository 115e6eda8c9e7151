"""What is measured on test images, each counted once whatever the batches and ranks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError
from torchmetrics.utilities import dim_zero_cat

_BINS = 15  # of the calibration error, as usual (Guo et al., ICML 2017)


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
    calibration_error: float = 0.0  # expected difference of confidence and accuracy, 0 to 100
    confusion: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.int64), compare=False, repr=False)


class _CalibrationError(MulticlassCalibrationError):
    """Of logits, also where all of a batch lie in [0, 1]: torchmetrics would take those for probabilities."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds.softmax(1), target)


class _Confusion(Metric):
    """The pairs of (class, class that it was taken for) that occur, counted: never a matrix of classes x classes."""

    pairs: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("pairs", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.pairs.append(torch.stack([target, preds.argmax(1)], 1))

    def compute(self) -> Tensor:
        found, counts = torch.unique(dim_zero_cat(self.pairs), dim=0, return_counts=True)
        return torch.cat([found, counts[:, None]], 1)


def metrics_for(classes: int, is_shared: Callable[[], bool]) -> MetricCollection:
    """What is counted of logits (N, K) and labels (N,), on all ranks where they share the images.

    Micro averages alone: torchmetrics makes the others from a matrix of classes x classes. No groups: it would take
    top-1 and top-5 for one wherever they agree on the first batch.
    """
    options: dict[str, Any] = {"distributed_available_fn": is_shared}
    usual: dict[str, Any] = {**options, "average": "micro", "validate_args": False}
    return MetricCollection(
        {
            "top1": MulticlassAccuracy(classes, **usual),
            "top5": MulticlassAccuracy(classes, top_k=min(5, classes), **usual),
            "calibration_error": _CalibrationError(classes, _BINS, validate_args=False, **options),
            "confusion": _Confusion(**options),
        },
        compute_groups=False,
    )


def accuracy_of(metrics: MetricCollection) -> Accuracy:
    """What was counted, over all ranks that share the images."""
    found: dict[str, Any] = metrics.compute()
    confusion = found.pop("confusion").cpu()
    percent = {name: round(100 * float(share), 5) for name, share in found.items()}  # shares are float32
    return Accuracy(**percent, images=int(confusion[:, 2].sum()), confusion=confusion)
