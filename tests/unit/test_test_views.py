"""Test views: what of an image students are tested on, decoded once into a file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddselect.evaluation.test_views import central_box, first_of_each_class, write_views
from tests.helpers.data import folder_index, write_folder


@pytest.mark.parametrize(
    ("width", "height", "margin", "box"),
    [(256, 256, 256 / 224, (16, 16, 240, 240)), (512, 256, 8 / 7, (144, 16, 368, 240)), (32, 32, 1.0, (0, 0, 32, 32))],
)
def test_central_box(width: int, height: int, margin: float, box: tuple[int, ...]) -> None:
    """Resize to 256 and centre-crop 224 leaves the middle seven eighths."""
    assert central_box(width, height, margin) == box


def test_views_are_cut_with_the_margin_and_in_the_order_of_the_index(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", sizes=((16, 16),))
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[1:15, 1:15] = 200
    Image.fromarray(pixels).save(root / "val" / "ant" / "framed.png")
    index = folder_index(root, tmp_path / "work").split("test")
    write_views(index, 14, 8 / 7, tmp_path / "views.npy")
    views = np.load(tmp_path / "views.npy", mmap_mode="r")
    assert views.shape == (len(index), 3, 14, 14)
    framed = next(row for row, name in enumerate(index.ids) if "framed" in name)
    assert (views[framed] == 200).all()
    for row in range(len(index)):
        assert (views[row] == index.read(row, 14, (1, 1, 15, 15)).numpy()).all()


def test_the_first_images_of_each_class(tmp_path: Path) -> None:
    index = folder_index(write_folder(tmp_path / "data", per_class=4), tmp_path / "work").split("test")
    assert first_of_each_class(index, 0).ids == index.ids
    assert first_of_each_class(index, 9).ids == index.ids
    found = first_of_each_class(index, 3)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.ids == [name for place, name in enumerate(sorted(index.ids)) if place % 4 < 3]
