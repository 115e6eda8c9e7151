"""Accuracy counts every test image once."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ddselect.dataset.index import Index
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.runtime.errors import UserError
from ddselect.student import accuracy
from ddselect.student.accuracy import central_box, count_hits, measure
from ddselect.student.confusion import class_accuracies
from tests.helpers.data import folder_index
from tests.helpers.models import CPU


class Lookup(nn.Module):
    """Reads the number that a one-coloured image shows and gives that row of a table of logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        return self.logits[(images[:, 0, 0, 0] * 255).round().long()]


def numbered_images(tmp_path: Path, labels: list[int]) -> Index:
    """Test image i of class labels[i] shows the number i."""
    for split in ("train", "val"):
        for number, label in enumerate(labels):
            folder = tmp_path / "data" / split / f"c{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number:02d}.png")
    return folder_index(tmp_path / "data", tmp_path / "work").split("test")


@pytest.mark.parametrize("batch_size", [1, 3, 7, 500])
@pytest.mark.parametrize("classes", [3, 7])
def test_exact_whatever_the_batch(tmp_path: Path, batch_size: int, classes: int) -> None:
    count = 22  # no multiple of 3 or 7
    labels = [i % classes for i in range(count)]
    logits = torch.randn(count, classes, generator=torch.Generator().manual_seed(classes))
    index = numbered_images(tmp_path, labels)
    place = (logits > logits[torch.arange(count), labels][:, None]).sum(1)  # how many classes were thought likelier
    result = measure(Lookup(logits), accuracy.TestSet(index, 8, 1.0), EvaluationConfig(batch_size=batch_size), CPU)
    assert result.images == count
    assert result.top1 == pytest.approx(100 * (place == 0).sum().item() / count)
    assert result.top5 == pytest.approx(100 * (place < 5).sum().item() / count)
    assert 0 < result.top1 < 100
    assert (result.top5 == 100) == (classes == 3)


def test_images_count_alike_however_many_a_class_has(tmp_path: Path) -> None:
    labels = [0] * 8 + [1, 2, 2]  # a mean over classes would be 33 %
    index = numbered_images(tmp_path, labels)
    said = torch.eye(3)[torch.zeros(11, dtype=torch.int64)]
    result = measure(Lookup(said), accuracy.TestSet(index, 8, 1.0), EvaluationConfig(batch_size=4), CPU)
    assert result.top1 == pytest.approx(800 / 11)
    assert class_accuracies(result.confusion.numpy(), 3) == [100, 0, 0]


def test_accuracy_of_each_class(tmp_path: Path) -> None:
    index = numbered_images(tmp_path, [0, 1, 2, 1, 1])  # in the index's order 0, 1, 1, 1, 2
    said = torch.eye(3)[[0, 0, 1, 1, 1]]  # by the number that an image shows
    tests = accuracy.TestSet(index.take(np.arange(4)), 8, 1.0)
    found = measure(Lookup(said), tests, EvaluationConfig(), CPU).confusion.numpy()
    assert class_accuracies(found, 3) == [100, pytest.approx(200 / 3), None]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_hits_of_all_ranks_are_those_of_one(tmp_path: Path, ranks: int, count: int) -> None:
    labels = [i % 7 for i in range(7)]
    index = numbered_images(tmp_path, labels).take(np.arange(count))
    tests = accuracy.TestSet(index, 8, 1.0)
    logits = torch.randn(7, 7, generator=torch.Generator().manual_seed(3))
    logits[0, 0] = 9.0  # one is right in any case

    def hits(rank: int, ranks: int) -> Tensor:
        rows = range(rank, count, ranks)
        found, predicted = count_hits(Lookup(logits), tests, rows, EvaluationConfig(batch_size=2), CPU)
        assert predicted.equal(logits.argmax(1)[list(rows)])
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [hits(rank, ranks) for rank in range(ranks)]
    place = (logits > logits[torch.arange(7), labels][:, None]).sum(1)[:count]
    whole = torch.stack([place == 0, place < 5], 1).long()  # of classes with one image each
    assert torch.stack(found).sum(0)[:count].equal(whole)
    assert not any(found[rank].any() for rank in range(count, ranks))


@pytest.mark.parametrize(
    ("width", "height", "margin", "box"),
    [(256, 256, 256 / 224, (16, 16, 240, 240)), (512, 256, 8 / 7, (144, 16, 368, 240)), (32, 32, 1.0, (0, 0, 32, 32))],
)
def test_central_box(width: int, height: int, margin: float, box: tuple[int, ...]) -> None:
    """Resize to 256 and centre-crop 224 leaves the middle seven eighths."""
    assert central_box(width, height, margin) == box


def test_test_views_are_cut_with_the_margin_and_kept(tmp_path: Path) -> None:
    index = numbered_images(tmp_path, [0, 1])
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[1:15, 1:15] = 200
    Image.fromarray(pixels).save(index.root / index.ids[0])
    index = folder_index(tmp_path / "data", tmp_path / "again").split("test")
    tests = accuracy.TestSet(index, 14, 8 / 7)
    image, label = tests[0]
    assert image.shape == (3, 14, 14)
    assert (image == 200).all()
    assert label == 0
    assert tests[0][0] is image


def test_values_out_of_range() -> None:
    with pytest.raises(UserError, match=r"evaluation.split=train: choose test or val"):
        EvaluationConfig("train")
    with pytest.raises(UserError, match="batch_size"):
        EvaluationConfig(batch_size=0)
