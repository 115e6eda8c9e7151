"""The embedded dataset: deterministic, balanced, with true boxes and other writers in the test split."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ddselect.dataset.folders import ClutteredDigitsConfig
from ddselect.dataset.index import Index
from ddselect.dataset.scenes import BOXES, TRAIN_DIGITS, Scenes, digits, render

SIZES = {"train": 13, "val": 10, "test": 11}


def test_same_arguments_same_pixels() -> None:
    first, again, other = render(30, 5), render(30, 5), render(30, 6)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.images, other.images)
    state = torch.random.get_rng_state()
    render(10, 5)
    assert torch.equal(torch.random.get_rng_state(), state)  # global random numbers are left alone


def test_shapes_and_balance() -> None:
    found = render(103, 1)
    assert found.images.shape == (103, 3, 32, 32)
    assert found.images.dtype == torch.uint8
    counts = found.labels.bincount(minlength=10)
    assert counts.sum() == 103
    assert counts.max() - counts.min() <= 1
    assert found.labels[:20].tolist() != sorted(found.labels[:20].tolist())


def test_boxes_lie_inside_and_hold_the_digit() -> None:
    """Without clutter the brightest pixels are the digit's."""
    scenes = render(60, 2, fragments=0)
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
    plain, cluttered = (render(60, 3, fragments=k) for k in (0, 4))

    def outside_contrast(scenes: Scenes) -> float:
        images, boxes = scenes.images.float().mean(1), scenes.boxes
        values = []
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist(), strict=True):
            mask = torch.ones(32, 32, dtype=torch.bool)
            mask[y0:y1, x0:x1] = False
            values.append(image[mask].std().item())
        return sum(values) / len(values)

    assert outside_contrast(cluttered) > 1.5 * outside_contrast(plain)


def test_test_digits_are_other_writers() -> None:
    train, train_labels = digits("train")
    test, test_labels = digits("test")
    bunch = load_digits()
    assert len(train) == TRAIN_DIGITS
    assert len(train) + len(test) == len(bunch.images)
    assert torch.equal(torch.cat([train_labels, test_labels]), torch.tensor(bunch.target))
    assert train.max() == 1
    assert not {d.numpy().tobytes() for d in train} & {d.numpy().tobytes() for d in test}
    assert not torch.equal(render(10, 1, "train").images, render(10, 1, "test").images)


def test_scenes_on_disk(scenes: Index) -> None:
    """What is indexed is what was rendered, with a box for each file."""
    assert {name: len(scenes.split(name)) for name in ("train", "val", "test")} == {"train": 60, "val": 10, "test": 20}
    assert scenes.class_names == [str(d) for d in range(10)]
    rendered, test = render(20, 2, "test"), scenes.split("test")
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


def test_a_half_written_folder_is_written_again(tmp_path: Path) -> None:
    dataset = ClutteredDigitsConfig("digits", 32, sizes=SIZES)
    root = dataset.provide(tmp_path)
    some = next((root / "train").glob("*/*.png"))
    content = some.read_bytes()
    some.write_bytes(b"")
    dataset.provide(tmp_path)
    assert some.read_bytes() == content


Written = dict[str, list[tuple[str, torch.Tensor, list[int]]]]


def written(folder: Path, **options: object) -> Written:
    """What the dataset writes: of each split, class, pixels and box in the order of the files' numbers."""
    root = ClutteredDigitsConfig("digits", 32, sizes=SIZES, **options).provide(folder)  # type: ignore[arg-type]
    found: Written = {split: [] for split in SIZES}
    for row in sorted(pq.read_table(root / BOXES).to_pylist(), key=lambda row: Path(row["path"]).stem):
        split, name, _ = row["path"].split("/")
        with Image.open(root / row["path"]) as image:
            pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1)
        found[split].append((name, pixels, [row[k] for k in ("x0", "y0", "x1", "y1")]))
    assert {split: len(files) for split, files in found.items()} == SIZES
    return found


def expected(count: int, seed: int, split: str) -> list[tuple[str, torch.Tensor, list[int]]]:
    scenes = render(count, seed, split)
    return [
        (str(int(label)), image, box.tolist())
        for image, label, box in zip(scenes.images, scenes.labels, scenes.boxes, strict=True)
    ]


def same(first: list[tuple[str, torch.Tensor, list[int]]], other: list[tuple[str, torch.Tensor, list[int]]]) -> bool:
    return len(first) == len(other) and all(
        a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in zip(first, other, strict=True)
    )


def test_defaults_are_the_published_scenes(tmp_path: Path) -> None:
    found = written(tmp_path)
    for split, seed in (("train", 1), ("val", 3), ("test", 2)):
        assert same(found[split], expected(SIZES[split], seed, split))


def test_another_seed_gives_other_scenes_of_the_same_digits(tmp_path: Path) -> None:
    first, again, other = written(tmp_path / "a", seed=1), written(tmp_path / "b", seed=1), written(tmp_path / "c")
    for split in SIZES:
        assert same(first[split], again[split])
        images = [[image for _, image, _ in found[split]] for found in (first, other)]
        assert not any(torch.equal(a, b) for a in images[0] for b in images[1])
    assert not any(torch.equal(a, b) for _, a, _ in first["train"] for _, b, _ in first["val"])
