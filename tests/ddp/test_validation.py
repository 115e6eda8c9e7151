"""Three ranks find what a count by hand does, also where they have no image each."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from ddselect.runtime.files import read_json
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.validation import validate
from tests.ddp.validation import Lookup, logits_of, numbered

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COUNTS = (2, 22)  # of images: fewer than ranks, and no multiple of ranks or batches


def by_hand(logits: Tensor, labels: list[int]) -> dict[str, Any]:
    """Accuracies and calibration error in percent and confusions, image by image."""
    top1, top5, pairs, bins = 0, 0, Counter[tuple[int, int]](), dict[int, list[tuple[float, bool]]]()
    for row, label in zip(logits.tolist(), labels, strict=True):
        order = sorted(range(len(row)), key=lambda k: -row[k])
        top1, top5 = top1 + (order[0] == label), top5 + (label in order[:5])
        pairs[label, order[0]] += 1
        confidence = float(Tensor(row).softmax(0).max())
        bins.setdefault(int(confidence * 15), []).append((confidence, order[0] == label))
    gaps = [abs(sum(c for c, _ in one) - sum(hit for _, hit in one)) for one in bins.values()]
    parts = {"top1": top1, "top5": top5, "calibration_error": sum(gaps)}
    confusion = sorted([*pair, count] for pair, count in pairs.items())
    return {**{name: 100 * part / len(labels) for name, part in parts.items()}, "confusion": confusion}


def check(found: dict[str, Any], count: int) -> None:
    expected = by_hand(logits_of(count), numbered(count).labels.tolist())
    assert found["confusion"] == expected.pop("confusion")
    assert found["images"] == count
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-5), name


@pytest.mark.parametrize("count", COUNTS)
def test_one_rank(count: int) -> None:
    found = validate(Lookup(logits_of(count)), numbered(count), TrainerConfig().single)  # type: ignore[arg-type]
    check({**vars(found), "confusion": found.confusion.tolist()}, count)


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_rank_knows_the_accuracy_of_all_images(ranks: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.ddp.validation", str(ranks), tmp_path, *map(str, COUNTS)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    for count in COUNTS:
        for rank in range(ranks):
            check(read_json(tmp_path / f"{count}-{rank}.json"), count)
