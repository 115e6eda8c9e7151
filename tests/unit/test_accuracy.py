"""Accuracy counts every test image once, and keeps nothing of the size of classes x classes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ddselect.evaluation.settings import EvaluationConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.accuracy import Accuracy, accuracy_of, metrics_for
from ddselect.student.confusion import class_accuracies
from ddselect.student.validation import TestSet as Images
from ddselect.student.validation import validate
from tests.ddp.validation import Lookup, logits_of, numbered


def measured(logits: Tensor, tests: Images) -> Accuracy:
    return validate(Lookup(logits), tests, TrainerConfig().single)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 7, 500])
@pytest.mark.parametrize("classes", [3, 7])
def test_exact_whatever_the_batch(batch_size: int, classes: int) -> None:
    count = 22  # no multiple of 3 or 7
    logits, tests = logits_of(count, classes), numbered(count, classes, batch_size)
    # how many classes were thought likelier
    place = (logits > logits[torch.arange(count), tests.labels][:, None]).sum(1)
    result = measured(logits, tests)
    assert result.images == count
    assert result.top1 == pytest.approx(100 * (place == 0).sum().item() / count, abs=1e-5)
    assert result.top5 == pytest.approx(100 * (place < 5).sum().item() / count, abs=1e-5)
    assert 0 < result.top1 < 100
    assert (result.top5 == 100) == (classes == 3)


def test_images_count_alike_however_many_a_class_has() -> None:
    tests = Images(numbered(11).images, torch.tensor([0] * 8 + [1, 2, 2]), 3, 4)  # a mean over classes would be 33 %
    result = measured(torch.eye(3)[torch.zeros(11, dtype=torch.int64)], tests)
    assert result.top1 == pytest.approx(800 / 11, abs=1e-5)
    assert class_accuracies(result.confusion.numpy(), 3) == [100, 0, 0]


def test_accuracy_of_each_class() -> None:
    tests = Images(numbered(4).images, torch.tensor([0, 1, 1, 1]), 3)
    found = measured(torch.eye(3)[[0, 0, 1, 1]], tests).confusion.numpy()
    assert class_accuracies(found, 3) == [100, pytest.approx(200 / 3), None]


def test_top_five_is_no_top_one_where_both_are_right_at_first() -> None:
    """As metrics are that torchmetrics finds alike on the first batch and counts together from then on."""
    logits = torch.eye(7)[[0, 1, 2, 3, 0, 0]] + torch.linspace(0.7, 0, 7)
    result = measured(logits, numbered(6, batch_size=4))
    assert (result.top1, result.top5) == (pytest.approx(400 / 6, abs=1e-5), pytest.approx(500 / 6, abs=1e-5))


def test_logits_between_0_and_1_are_no_probabilities() -> None:
    result = measured(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), Images(numbered(2).images, torch.tensor([0, 1]), 2))
    confidence = torch.tensor([1.0, 0.0]).softmax(0)[0].item()
    assert result.calibration_error == pytest.approx(100 * (confidence - 0.5), abs=1e-4)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [1, 4, 7, 22])
def test_ranks_share_the_images_in_equally_many_batches(count: int, ranks: int) -> None:
    batches = [numbered(count).batches(rank, ranks) for rank in range(ranks)]
    assert len({len(mine) for mine in batches}) == 1
    assert sorted(row for mine in batches for rows in mine for row in rows.tolist()) == list(range(count))
    assert max(len(rows) for mine in batches for rows in mine) <= 3


class Largest(TorchDispatchMode):
    """Notes the largest number of values in any tensor that an operation makes."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, Tensor):
                self.values = max(self.values, one.numel())
        return out


def test_nothing_of_classes_by_classes_is_made() -> None:
    classes, batch = 21_000, 8
    metrics, largest = metrics_for(classes, lambda: False), Largest()
    labels = torch.randint(classes, (3 * batch,), generator=torch.Generator().manual_seed(0))
    with largest:
        for own in labels.split(batch):
            metrics.update(torch.randn(batch, classes), own)
        found = accuracy_of(metrics)
    assert found.confusion.shape == (3 * batch, 3)
    assert batch * classes <= largest.values <= 2 * batch * classes
    assert len(class_accuracies(found.confusion.numpy(), classes)) == classes


def test_a_diverged_student_is_counted_too() -> None:
    result = measured(torch.full((5, 7), torch.nan), numbered(5))
    assert result.images == 5


def test_values_out_of_range() -> None:
    with pytest.raises(UserError, match=r"evaluation.split=train: choose test or val"):
        EvaluationConfig("train")
    with pytest.raises(UserError, match="batch_size"):
        EvaluationConfig(batch_size=0)
