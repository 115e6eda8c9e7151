"""The drawn scenes do not change from release to release.

Pixels may differ in the last bit between processors, so colours are compared in the mean; labels and boxes exactly.
"""

from typing import Any

import pytest

from ddselect.dataset.scenes import render

# seed, number of scenes, then of the first five: labels, boxes, mean of each channel; mean of each channel of all
DIGITS: dict[str, tuple[int, int, Any, Any, Any, Any]] = {
    "train": (
        1,
        100,
        [5, 5, 0, 2, 5],
        [[14, 11, 24, 26], [14, 13, 25, 28], [7, 4, 17, 20], [7, 3, 20, 19], [10, 10, 19, 24]],
        [[45.1, 94.7, 46.6], [121.4, 55.8, 118.2], [92.7, 82.2, 83.5], [91.7, 111.8, 96.5], [91.2, 31.6, 115.5]],
        [83.0, 82.3, 82.5],
    ),
    "val": (
        3,
        100,
        [6, 2, 9, 2, 3],
        [[8, 5, 19, 21], [7, 13, 17, 27], [4, 5, 16, 21], [7, 5, 21, 21], [5, 6, 15, 21]],
        [[137.8, 44.3, 111.5], [103.5, 124.1, 126.5], [69.1, 117.2, 47.8], [116.4, 50.8, 51.0], [48.1, 134.4, 103.0]],
        [76.5, 78.3, 87.7],
    ),
    "test": (
        2,
        100,
        [8, 7, 1, 1, 0],
        [[13, 1, 23, 16], [12, 8, 23, 22], [9, 2, 16, 17], [6, 4, 17, 20], [5, 7, 17, 23]],
        [[129.6, 49.2, 48.2], [59.7, 36.1, 78.0], [112.5, 104.1, 68.2], [78.1, 57.1, 36.8], [69.5, 86.3, 61.3]],
        [79.2, 75.6, 83.2],
    ),
}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_first_scenes(split: str) -> None:
    seed, count, labels, boxes, means, overall = DIGITS[split]
    found = render(count, seed, split)
    assert found.labels[:5].tolist() == labels
    assert found.boxes[:5].tolist() == boxes
    for image, mean in zip(found.images[:5], means, strict=True):
        assert image.float().mean((1, 2)).tolist() == pytest.approx(mean, abs=0.5)
    assert found.images.float().mean((0, 2, 3)).tolist() == pytest.approx(overall, abs=0.5)
