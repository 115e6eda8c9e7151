"""The second embedded dataset: deterministic, with true boxes, and other hands and textures in the test split."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from ddselect.dataset.folders import TexturedShapesConfig
from ddselect.dataset.index import build_index, read_index
from ddselect.dataset.rendering import BOXES
from ddselect.dataset.scenes import Scenes, tight_boxes
from ddselect.dataset.shapes import CLASS_NAMES, ShapeStyle, drawn_shapes, render, signed_distance, textures
from ddselect.runtime.errors import UserError

SIZES = {"train": 20, "val": 10, "test": 11}


def test_distances_to_a_polygon() -> None:
    square = torch.tensor([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    points = torch.tensor([(0.0, 0.0), (0.5, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, -1.25)])
    assert signed_distance(square, points).tolist() == pytest.approx([-1, -0.5, 1, 2**0.5, 0.25])


def inside(boxes: torch.Tensor) -> torch.Tensor:
    """(N, 32, 32): the pixels of boxes."""
    ticks = torch.arange(32)
    columns = (ticks >= boxes[:, :1]) & (ticks < boxes[:, 2:3])
    rows = (ticks >= boxes[:, 1:2]) & (ticks < boxes[:, 3:])
    return columns[:, None, :] & rows[:, :, None]


@pytest.mark.parametrize("split", ["train", "test"])
def test_boxes_hold_the_shape_and_fit_it(split: str) -> None:
    """Without fragments nothing but the shape is darker than any ground."""
    scenes = render(300, 2, split, ShapeStyle(fragments=0))
    sides = scenes.boxes[:, 2:] - scenes.boxes[:, :2]
    assert scenes.boxes.min() >= 0
    assert scenes.boxes.max() <= 32
    assert sides.min() >= 5
    assert sides.max() <= 22
    dark = scenes.images.float().mean(1) < 80
    assert not (dark & ~inside(scenes.boxes)).any()
    strong = dark.sum((1, 2)) > 30
    assert strong.sum() > 100
    loose = (tight_boxes(dark[strong]) - scenes.boxes[strong]).abs().float()
    assert loose.mean() < 1


def test_fragments_clutter_the_outside_of_the_box() -> None:
    def darkness(scenes: Scenes) -> float:
        outside = ~inside(scenes.boxes)
        return float((scenes.images.float().mean(1) < 80)[outside].float().mean())

    plain, cluttered = (darkness(render(60, 3, style=ShapeStyle(fragments=k))) for k in (0, 4))
    assert cluttered > 0.02 > 0 == plain


def test_test_scenes_have_other_hands_and_textures() -> None:
    for bank in (drawn_shapes, textures):
        train, test = (bank(split).flatten(0, -3) for split in (True, False))
        assert not {one.numpy().tobytes() for one in train} & {one.numpy().tobytes() for one in test}
    train, test = drawn_shapes(True), drawn_shapes(False)
    assert train.shape[1:] == test.shape[1:] == (10, 48, 48)
    assert train.amin((2, 3)).max() < 0 < train[:, :, [0, -1]].min()  # all lie inside of their grid
    assert not torch.equal(render(10, 1, "train").images, render(10, 1, "test").images)


def test_scenes_on_disk(tmp_path: Path) -> None:
    """What is indexed is what was rendered, with a box for each file."""
    build_index(TexturedShapesConfig("shapes", 32, sizes=SIZES), tmp_path)
    index = read_index(tmp_path)
    assert {name: len(index.split(name)) for name in SIZES} == SIZES
    assert index.class_names == list(CLASS_NAMES) == sorted(CLASS_NAMES)
    rows = {row["path"]: row for row in pq.read_table(index.root / BOXES).to_pylist()}
    assert set(rows) == set(index.ids)
    for split, seed in (("train", 1), ("val", 3), ("test", 2)):
        part, scenes = index.split(split), render(SIZES[split], seed, split)
        for row, image_id in enumerate(part.ids):
            number = int(Path(image_id).stem)
            assert torch.equal(part.read(row, 32), scenes.images[number])
            assert part.labels[row] == scenes.labels[number]
            assert [rows[image_id][k] for k in ("x0", "y0", "x1", "y1")] == scenes.boxes[number].tolist()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset.image_size=64: shapes has 32-pixel scenes"):
        TexturedShapesConfig("shapes", 64, sizes=SIZES)
    with pytest.raises(UserError, match=r"dataset.fragments=\[-1\]: numbers of fragments are needed"):
        TexturedShapesConfig("shapes", 32, sizes=SIZES, fragments=[-1])
