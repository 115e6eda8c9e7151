"""The embedded dataset: deterministic, balanced, with true boxes and other writers in the test split."""

from pathlib import Path

import pyarrow.parquet as pq
import torch
from sklearn.datasets import load_digits

from ddselect.dataset.index import Index
from ddselect.dataset.rendering import BOXES, write_scenes
from ddselect.dataset.scenes import TRAIN_DIGITS, SceneStyle, digits, render


def test_same_arguments_same_pixels() -> None:
    first, again, other = render(30, 5), render(30, 5), render(30, 6)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.images, other.images)
    state = torch.random.get_rng_state()
    render(10, 5)
    assert torch.equal(torch.random.get_rng_state(), state)  # global random numbers are left alone


def test_shapes_and_balance() -> None:
    scenes = render(103, 1)
    assert scenes.images.shape == (103, 3, 32, 32)
    assert scenes.images.dtype == torch.uint8
    counts = scenes.labels.bincount(minlength=10)
    assert counts.sum() == 103
    assert counts.max() - counts.min() <= 1
    assert scenes.labels[:20].tolist() != sorted(scenes.labels[:20].tolist())


def test_boxes_lie_inside_and_hold_the_digit() -> None:
    """Without clutter the brightest pixels are the digit's."""
    scenes = render(60, 2, style=SceneStyle().with_fragments(0))
    x0, y0, x1, y1 = scenes.boxes.T
    assert scenes.boxes.min() >= 0
    assert scenes.boxes.max() <= 32
    assert ((x1 - x0) >= 2).all()
    assert ((x1 - x0) <= 18).all()
    assert ((y1 - y0) >= 7).all()
    assert ((y1 - y0) <= 18).all()
    bright = scenes.images.float().sum(1).flatten(1).argmax(1)
    x, y = bright % 32, bright // 32
    assert ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).all()


def test_fragments_clutter_the_outside_of_the_box() -> None:
    plain, cluttered = (render(60, 3, style=SceneStyle(fragments=k)) for k in (0, 4))

    def outside_contrast(scenes: object) -> float:
        images, boxes = scenes.images.float().mean(1), scenes.boxes  # type: ignore[attr-defined]
        values = []
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist(), strict=True):
            mask = torch.ones(32, 32, dtype=torch.bool)
            mask[y0:y1, x0:x1] = False
            values.append(image[mask].std().item())
        return sum(values) / len(values)

    assert outside_contrast(cluttered) > 1.5 * outside_contrast(plain)


def test_test_digits_are_other_writers() -> None:
    train, train_labels = digits(train=True)
    test, test_labels = digits(train=False)
    bunch = load_digits()
    assert len(train) == TRAIN_DIGITS
    assert len(train) + len(test) == len(bunch.images)
    assert torch.equal(torch.cat([train_labels, test_labels]), torch.tensor(bunch.target))
    assert train.max() == 1
    assert not {d.numpy().tobytes() for d in train} & {d.numpy().tobytes() for d in test}
    assert not torch.equal(render(10, 1, train=True).images, render(10, 1, train=False).images)


def test_scenes_on_disk(scenes: Index) -> None:
    """What is indexed is what was rendered, with a box for each file."""
    assert {name: len(scenes.split(name)) for name in ("train", "val", "test")} == {"train": 60, "val": 10, "test": 20}
    assert scenes.class_names == [str(d) for d in range(10)]
    rendered, test = render(20, 2, train=False), scenes.split("test")
    boxes = {
        row["path"]: [row[k] for k in ("x0", "y0", "x1", "y1")]
        for row in pq.read_table(scenes.root / BOXES).to_pylist()
    }
    assert set(boxes) == set(scenes.ids)
    for row, image_id in enumerate(test.ids):
        number = int(Path(image_id).stem)
        assert torch.equal(test.read(row, 32), rendered.images[number])
        assert test.labels[row] == rendered.labels[number]
        assert boxes[image_id] == rendered.boxes[number].tolist()


def test_a_half_written_folder_is_finished_and_a_whole_one_left_alone(tmp_path: Path) -> None:
    sizes = {"train": 10, "val": 10, "test": 10}
    write_scenes(tmp_path, sizes)
    some = next((tmp_path / "train").glob("*/*.png"))
    content = some.read_bytes()
    some.write_bytes(b"")
    write_scenes(tmp_path, sizes)
    assert some.read_bytes() == b""
    (tmp_path / BOXES).unlink()
    write_scenes(tmp_path, sizes)
    assert some.read_bytes() == content
