"""Tar shards of images, read in place."""

import re
import tarfile
from pathlib import Path

import pytest

from ddselect.dataset.index import Index, build_index, read_index
from ddselect.dataset.shards import TarShardsConfig
from ddselect.runtime.errors import UserError
from tests.helpers.data import folder_index
from tests.helpers.layouts import write_shards, write_training

CLASSES = ["ant", "bee", "cow"]


def dataset(root: Path) -> TarShardsConfig:
    return TarShardsConfig("shards", 16, root=str(root))


def indexed(root: Path, work: Path) -> Index:
    build_index(dataset(root), work)
    return read_index(work, root)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        write_training(tmp_path / "images" / split, CLASSES, per_class=3)
    return tmp_path / "images"


def write(root: Path, images: Path, style: str) -> Path:
    for split in ("train", "val"):
        write_shards(root, images / split, split, style)
    return root


@pytest.mark.parametrize("style", ["number", "name", "folder"])
def test_images_are_those_of_the_files(style: str, images: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shards", images, style)
    if style == "number":
        (root / "classes.txt").write_text("ant\nbee\ncow\n")
    index, wanted = indexed(root, tmp_path / "work"), folder_index(images, tmp_path / "other")
    assert index.class_folders == wanted.class_folders == CLASSES
    for split in ("train", "test"):
        part, other = index.split(split), wanted.split(split)
        assert part.labels.tolist() == other.labels.tolist()
        hashes = sorted(zip(part.labels, part.table["hash"].to_pylist(), strict=True))
        assert hashes == sorted(zip(other.labels, other.table["hash"].to_pylist(), strict=True))
        by_hash = {content: row for row, content in enumerate(other.table["hash"].to_pylist())}
        for row, content in enumerate(part.table["hash"].to_pylist()):
            assert (part.read(row, 16) == other.read(by_hash[content], 16)).all()
            assert part.decode(row).size == (20, 16)
    assert all(re.match(r"(train|val)-0000[01]\.tar/", image) for image in index.ids)
    assert len(set(index.ids)) == 18


def test_without_a_list_numbers_are_names_in_the_order_of_numbers(tmp_path: Path) -> None:
    names = [f"{number:02d}" for number in range(12)]
    for split in ("train", "val"):
        write_training(tmp_path / "images" / split, names, per_class=1)
    index = indexed(write(tmp_path / "shards", tmp_path / "images", "number"), tmp_path / "work")
    assert index.class_folders == [str(number) for number in range(12)]
    assert index.split("train").labels.tolist() == list(range(12))


def test_the_order_of_the_list_counts(images: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shards", images, "folder")
    (root / "classes.txt").write_text("cow\nant\nbee\n")
    assert indexed(root, tmp_path / "work").class_folders == ["cow", "ant", "bee"]


def test_another_shard_is_noticed(images: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shards", images, "name")
    before = dataset(root).signature()
    assert dataset(root).signature() == before
    (root / "classes.txt").write_text("cow\nant\nbee\n")
    listed = dataset(root).signature()
    (root / "train-00001.tar").unlink()
    assert len({before, listed, dataset(root).signature()}) == 3


def compress(root: Path) -> None:
    with tarfile.open(root / "train-00000.tar", "w:gz"):
        pass


def cut(root: Path) -> None:
    file = root / "train-00000.tar"
    file.write_bytes(file.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("style", "harm", "words"),
    [
        ("name", compress, "train-00000.tar: it is no whole, uncompressed tar file"),
        ("name", cut, "train-00000.tar: it is no whole, uncompressed tar file"),
        ("name", lambda root: (root / "classes.txt").write_text("ant\nbee\n"), "class 'cow' of the shards is not in"),
        ("name", lambda root: (root / "classes.txt").write_text("ant\nbee\ncow\ndog\n"), "'dog' has no train images"),
        (
            "number",
            lambda root: (root / "classes.txt").write_text("ant\nbee\n../cow\n"),
            "'../cow' is no name of a class",
        ),
        ("name", lambda root: [path.unlink() for path in root.glob("val-*")], "no test shards val-*.tar in"),
    ],
)
def test_shards_that_are_not_as_they_should_be(style: str, harm, words: str, images: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root = write(tmp_path / "shards", images, style)
    harm(root)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        build_index(dataset(root), tmp_path / "work")
    assert words in str(caught.value).splitlines()[0]


def test_a_shard_cut_off_anywhere_is_refused(images: Path, tmp_path: Path) -> None:
    """Also between two samples, or an image and its class, where nothing else tells."""
    root = write(tmp_path / "shards", images, "name")
    file = root / "train-00000.tar"
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        ends = [member.offset for member in archive.getmembers()] + [archive.offset, len(whole) // 2]
    for end in ends[1:]:
        file.write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"train-00000.tar: it is no whole, uncompressed tar file"):
            build_index(dataset(root), tmp_path / "work")


def test_an_image_without_a_class_is_refused(images: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shards", images, "folder")
    with tarfile.open(root / "train-00002.tar", "w") as archive:
        archive.add(next((images / "train" / "ant").iterdir()), "lonely.jpg")
    with pytest.raises(UserError, match=r"train-00002.tar: image lonely.jpg has no class"):
        build_index(dataset(root), tmp_path / "work")


def test_a_missing_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no shards found in '.*nowhere'; give the folder") as caught:
        dataset(tmp_path / "nowhere").class_folders()
    assert "    train-*.tar and val-*.tar with <key>.jpg and <key>.cls, or <class>/<name>.jpg" in str(caught.value)
