"""Datasets of parquet files: fetched from a hub, or as a local copy."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ddselect.dataset.hub import HubConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.runtime.errors import UserError
from tests.fault.runs import run_here
from tests.helpers.hub import FakeHub, Repo

NAMES = ["wasp", "ant", "bee/fly"]  # not in the order of the alphabet, and one that is no name of a folder
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
CARD = """---
dataset_info:
  features:
  - {name: image, dtype: image}
  - name: label
    dtype:
      class_label:
        names: {'0': wasp, '1': ant, '2': bee/fly}
---
"""


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((9, 12, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(
    path: Path, labels: list[Any], first: int = 0, features: dict[str, Any] | None = None, **more: list[Any]
) -> Path:
    """A parquet file of images that are 9 pixels high and 12 wide."""
    images = [{"bytes": png(first + number), "path": None} for number in range(len(labels))]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(images, kind), "label": labels, **more})
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A local copy with two files of training images and one of test images."""
    root = tmp_path / "copy"
    write(root / "data" / "train-00000-of-00002.parquet", [0, 1, 2, 1], 0, FEATURES)
    write(root / "data" / "train-00001-of-00002.parquet", [2, 0], 10, FEATURES)
    write(root / "data" / "test-00000-of-00001.parquet", [1, 2, 0], 20, FEATURES)
    return root


def indexed(work: Path, **settings: Any) -> Index:
    work.mkdir()
    build_index(HubConfig("hub", 16, **settings), work)
    return read_index(work, Path())


def greys(index: Index, split: str) -> dict[int, str]:
    """The class of each image, by what is on it."""
    part = index.split(split)
    return {int(part.read(row, 8)[0, 0, 0]): part.class_names[part.labels[row]] for row in range(len(part))}


WANTED = {0: "wasp", 1: "ant", 2: "bee_fly", 3: "ant", 10: "bee_fly", 11: "wasp"}


def test_images_and_classes_are_those_of_the_rows(copy: Path, tmp_path: Path) -> None:
    index = indexed(tmp_path / "work", root=str(copy))
    assert index.class_names == ["wasp", "ant", "bee_fly"]
    assert greys(index, "train") == WANTED
    assert greys(index, "test") == {20: "ant", 21: "bee_fly", 22: "wasp"}
    assert index.sizes_at(0) == (12, 9)
    row = index.ids.index("train-00001.tar/00000001.jpg")
    assert index.source(row).path.is_relative_to(tmp_path / "work")
    assert HubConfig("hub", 16, root=str(copy)).counts() == {"train": 6, "test": 3}


def test_the_card_names_the_classes_where_the_files_do_not(copy: Path, tmp_path: Path) -> None:
    for path in copy.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    (copy / "README.md").write_text(CARD)
    assert greys(indexed(tmp_path / "work", root=str(copy)), "train") == WANTED
    (copy / "README.md").unlink()
    assert set(greys(indexed(tmp_path / "other", root=str(copy.rename(tmp_path / "moved"))), "train").values()) == set(
        "012"
    )


def test_texts_are_classes_and_a_share_may_test(tmp_path: Path) -> None:
    words = ["cat", "dog"] * 20
    write(tmp_path / "train.parquet", words)
    index = indexed(tmp_path / "work", root=str(tmp_path), holdout=0.3)
    found = {**greys(index, "train"), **greys(index, "test")}
    assert found == dict(enumerate(words))
    assert 4 < len(index.split("test")) < 20


def test_fetched_once_and_used_without_the_hub(hub: FakeHub, copy: Path, tmp_path: Path) -> None:
    files = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*.parquet")}
    hub.repos["ann/insects"] = Repo(files={**files, "data/validation-0.parquet": b"of no use here", "more.bin": b"x"})
    here, there = indexed(tmp_path / "a", root=str(copy)), indexed(tmp_path / "b", id="ann/insects")
    assert there.table.drop(["mtime"]) == here.table.drop(["mtime"])
    got = [line.rpartition("/")[2] for line in hub.asked if line.startswith("GET") and "/resolve/" in line]
    assert sorted(got) == sorted(Path(name).name for name in files)


def test_what_the_hub_made_of_other_forms_is_found(hub: FakeHub, copy: Path, tmp_path: Path) -> None:
    """Its own conversion lies under another revision."""
    files = {path.name: path.read_bytes() for path in copy.rglob("*.parquet")}
    hub.repos["ann/insects"] = Repo(files={f"default/{n.split('-')[0]}/{n}": data for n, data in files.items()})
    hub.repos["ann/insects"].revision = "refs/convert/parquet"
    assert greys(indexed(tmp_path / "work", id="ann/insects@refs/convert/parquet"), "train") == WANTED


def _columns(root: Path) -> None:
    both = {"image": {"_type": "Image"}, "label": {}, "fine": FEATURES["label"], "coarse": FEATURES["label"]}
    for split in ("train", "test"):
        write(root / f"{split}.parquet", [0, 1], 0, both, fine=[1, 2], coarse=[0, 0])


def _no_classes(root: Path) -> None:
    write(root / "train.parquet", [0, 1, 2], 0, FEATURES)
    write(root / "test.parquet", [-1, -1], 0, FEATURES)


def _subsets(root: Path) -> None:
    for subset in ("full", "small"):
        for split in ("train", "test"):
            write(root / subset / f"{split}.parquet", [0, 1, 2], 0, FEATURES)


def _cut_off(root: Path) -> None:
    _no_classes(root)
    (root / "train.parquet").write_bytes((root / "train.parquet").read_bytes()[:-9])


def _paths_alone(root: Path) -> None:
    for split in ("train", "test"):
        path = write(root / f"{split}.parquet", [0, 1, 2], 0, FEATURES)
        table = pq.read_table(path)
        kind = table.schema.field("image").type
        images = pa.array([{"bytes": None, "path": "a.png"}] * 3, kind)
        pq.write_table(table.set_column(0, "image", images), path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_columns, ["several columns of classes, fine, coarse", "dataset.classes="]),
        (_no_classes, ["row 0 has the class -1", "dataset.test="]),
        (_subsets, ["full, small", "dataset.train=", "full/train"]),
        (_cut_off, ["train.parquet: it is no whole parquet file"]),
        (_paths_alone, ["row 0 holds no image"]),
        (lambda root: root.mkdir(), ["no parquet files of 'train'", "dataset.holdout="]),
    ],
)
def test_what_is_wrong_is_one_line(make: Any, said: list[str], tmp_path: Path) -> None:
    make(tmp_path / "copy")
    with pytest.raises(UserError) as found:
        indexed(tmp_path / "work", root=str(tmp_path / "copy"))
    assert all(part in str(found.value).splitlines()[0] for part in said), found.value


def test_a_column_or_a_subset_can_be_chosen(tmp_path: Path) -> None:
    _columns(tmp_path / "columns")
    with pytest.raises(UserError, match="class 'wasp' has no train"):
        indexed(tmp_path / "a", root=str(tmp_path / "columns"), classes="fine")
    _subsets(tmp_path / "subsets")
    chosen = {"train": "small/train", "test": "small/test"}
    assert len(indexed(tmp_path / "b", root=str(tmp_path / "subsets"), **chosen)) == 6


def test_a_change_of_the_copy_is_noticed(copy: Path) -> None:
    before = HubConfig("hub", 16, root=str(copy)).signature()
    assert HubConfig("hub", 16, root=str(copy)).signature() == before
    write(copy / "data" / "train-00001-of-00002.parquet", [2, 0, 1], 10, FEATURES)
    assert HubConfig("hub", 16, root=str(copy)).signature() != before


def test_without_a_place_it_says_how_to_give_one() -> None:
    with pytest.raises(UserError, match=r"dataset\.id=<user>/<name>"):
        HubConfig("hub", 16).class_folders()


def test_the_command_line_reads_it(copy: Path, tmp_path: Path) -> None:
    chosen = ("dataset=hub", f"dataset.root={copy}", "selection=random_image", "compare=[]", "ipc=1")
    dry = run_here(tmp_path, *chosen, "stages=[index]", "dry_run=true")
    assert dry.code == 0, dry.err
    ended = run_here(tmp_path, *chosen, "stages=[index]")
    assert ended.code == 0, ended.err
    assert "test 3 images of 3 classes; train 6 images of 3 classes" in ended.out
    assert not list(tmp_path.glob("store/*/*/.spent.json"))
    again = run_here(tmp_path, *chosen, "stages=[index]")
    assert "index: done before" in again.err
