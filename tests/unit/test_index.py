"""The index: one row per readable image; broken ones are errors or listed."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from ddselect.dataset.index import build_index, read_index
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json
from tests.helpers.data import folder_dataset, folder_index, picture, write_folder

ALL_KINDS = ((".png", "RGB"), (".jpg", "L"), (".PNG", "P"), (".png", "RGBA"), (".jpeg", "RGB"))


def test_columns(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", per_class=5, kinds=ALL_KINDS)
    index = folder_index(root, tmp_path / "work")
    assert len(index) == 30
    assert index.class_folders == index.class_names == ["ant", "bee", "cow"]
    assert index.root == root
    for row in index.table.to_pylist():
        path = root / row["path"]
        split, folder, _ = row["path"].split("/")
        with Image.open(path) as image:
            assert (row["width"], row["height"]) == image.size
        assert row["id"] == row["path"]
        assert row["split"] == {"train": "train", "val": "test"}[split]
        assert row["label"] == index.class_folders.index(folder)
        assert row["bytes"] == path.stat().st_size
        assert row["hash"] == hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    assert len(set(index.ids)) == 30


def test_rows_are_sorted_and_split(tmp_path: Path) -> None:
    index = folder_index(write_folder(tmp_path / "data"), tmp_path / "work")
    train, test = index.split("train"), index.split("test")
    assert len(train) + len(test) == len(index)
    assert train.ids == sorted(train.ids)
    assert train.labels.tolist() == sorted(train.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert train.sizes().tolist() == [list(train.sizes_at(row)) for row in range(len(train))]
    assert all(i.startswith("val/") for i in test.ids)
    with pytest.raises(UserError, match=r"no val split; it has \['test', 'train'\]"):
        index.split("val")


def test_views_are_read_by_row(tmp_path: Path) -> None:
    train = folder_index(write_folder(tmp_path / "data"), tmp_path / "work").split("train")
    views = train.read_all(16)
    assert views.shape == (12, 3, 16, 16)
    for row in (0, 5, 11):
        assert (train.read(row, 16) == views[row]).all()
    assert len({view.numpy().tobytes() for view in views}) == 12


def breakage(root: Path, kind: str) -> str:
    """Breaks an image of class bee and returns its path."""
    path = f"train/bee/broken.{'jpg' if kind == 'truncated' else 'png'}"
    if kind == "truncated":
        picture(64, 64).save(root / path)
        (root / path).write_bytes((root / path).read_bytes()[:-100])
    else:
        (root / path).write_bytes(b"" if kind == "empty" else b"I am a text file\n" * 10)
    return path


@pytest.mark.parametrize("kind", ["truncated", "text", "empty"])
def test_a_broken_image_is_an_error_with_its_name(tmp_path: Path, kind: str) -> None:
    root = write_folder(tmp_path / "data")
    path = breakage(root, kind)
    with pytest.raises(UserError, match=rf"{root / path}: unreadable image \(.+\); .*dataset.broken=skip") as caught:
        build_index(folder_dataset(root), tmp_path / "work")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "work" / "images.parquet").exists()


@pytest.mark.parametrize("kind", ["truncated", "text", "empty"])
def test_a_skipped_image_is_listed_and_nothing_takes_its_place(tmp_path: Path, kind: str) -> None:
    root = write_folder(tmp_path / "data")
    whole = folder_index(root, tmp_path / "before")
    path = breakage(root, kind)
    facts = build_index(folder_dataset(root, broken="skip", broken_ceiling=0.5), tmp_path / "work")
    index = read_index(tmp_path / "work", root)
    assert index.ids == whole.ids
    assert facts["unreadable"] == 1
    assert facts["images"] == {"train": 12, "test": 12}
    (listed,) = read_json(tmp_path / "work" / "unreadable.json")["files"]
    assert listed["path"] == path
    assert listed["error"]


def test_a_class_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", per_class=1)
    for file in (root / "train" / "cow").iterdir():
        file.write_bytes(b"x")
    with pytest.raises(UserError, match="class 'cow' has no readable train images"):
        build_index(folder_dataset(root, broken="skip", broken_ceiling=0.5), tmp_path / "work")


def test_digest_follows_content_and_place_in_the_tree_only(tmp_path: Path) -> None:
    first = build_index(folder_dataset(write_folder(tmp_path / "a")), tmp_path / "w1")
    moved = build_index(folder_dataset(write_folder(tmp_path / "b")), tmp_path / "w2")
    assert first["digest"] == moved["digest"]
    (tmp_path / "b" / "train" / "ant" / "000.png").rename(tmp_path / "b" / "train" / "bee" / "000.png")
    relabelled = build_index(folder_dataset(tmp_path / "b"), tmp_path / "w3")
    picture(32, 32, seed=99).save(tmp_path / "a" / "train" / "ant" / "000.png")
    changed = build_index(folder_dataset(tmp_path / "a"), tmp_path / "w4")
    assert len({first["digest"], relabelled["digest"], changed["digest"]}) == 3
