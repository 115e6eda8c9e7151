"""ImageNet, its subsets and Tiny-ImageNet in the layouts of their downloads, through the index."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from ddselect.dataset.classes import class_list, class_names, imagenet_classes
from ddselect.dataset.folders import DatasetConfig
from ddselect.dataset.imagenet import ImageNetConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.options import conf_dir
from ddselect.runtime.errors import UserError
from ddselect.schema import build
from tests.helpers import layouts
from tests.helpers.data import write_folder
from tests.helpers.layouts import shade

SUBSETS = ["imagenet100", "imagenette", "imagewoof", "imageidc"]
SOME = [imagenet_classes()[k] for k in (0, 207, 340, 980, 999)]


def dataset(name: str, root: Path, *settings: str) -> DatasetConfig:
    """An option of ``conf/dataset`` as the command line gives it; of whole ImageNets with a few of their classes."""
    few = ["dataset.classes=any"] * (name in ("imagenet1k", "tinyimagenet"))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [f"dataset={name}", f"dataset.root={root}", *few, *settings])
    built: DatasetConfig = build(cfg, "dataset")
    return built


def indexed(chosen: DatasetConfig, work: Path) -> Index:
    build_index(chosen, work)
    return read_index(work, chosen.place)


def assert_labels(index: Index, colours: list[str]) -> None:
    """Every image shows the colour of its class; the colours belong to the sorted classes that were written."""
    for row, label in enumerate(index.labels.tolist()):
        mean = index.read(row, 8).float().mean((1, 2)).numpy()
        wanted = shade(sorted(colours).index(index.class_folders[label]))
        assert np.abs(mean - wanted).max() < 12, index.ids[row]


def with_folders(root: Path) -> Path:
    """Both splits as class folders."""
    layouts.write_training(root / "val", SOME, per_class=1)
    layouts.write_training(root / "train", SOME)
    return root


def with_a_table(root: Path) -> Path:
    """A flat validation set whose classes are in a table of the user's."""
    layouts.write_training(root / "train", SOME)
    truth = layouts.write_validation(root / "val", SOME)
    lines = [f"ILSVRC2012_val_{k:08d}.JPEG,{wnid}\n" for k, wnid in enumerate(truth, start=1)]
    (root / "classes.csv").write_text("".join(lines))
    return root


def with_a_devkit_elsewhere(root: Path) -> Path:
    layouts.write_imagenet(root, SOME)
    (root / layouts.DEVKIT).rename(root.parent / "devkit")
    return root


IMAGENETS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "class folders": (with_folders, []),
    "devkit": (lambda root: layouts.write_imagenet(root, SOME), []),
    "devkit elsewhere": (with_a_devkit_elsewhere, ["dataset.devkit={root}/../devkit"]),
    "a table": (with_a_table, ["dataset.devkit={root}/classes.csv"]),
    "kaggle": (lambda root: layouts.write_kaggle(root, SOME), []),
}


@pytest.mark.parametrize("layout", IMAGENETS)
def test_imagenet_in_each_of_its_layouts(layout: str, tmp_path: Path) -> None:
    write, settings = IMAGENETS[layout]
    root = write(tmp_path / "data")
    index = indexed(dataset("imagenet1k", root, *(word.format(root=root) for word in settings)), tmp_path / "work")
    assert index.class_folders == SOME == sorted(SOME)
    assert index.class_names == class_names(SOME, "imagenet")
    assert (len(index.split("train")), len(index.split("test"))) == (10, 5)
    assert sorted(index.split("test").labels.tolist()) == [0, 1, 2, 3, 4]
    assert_labels(index, SOME)


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_from_a_folder_of_its_own(name: str, tmp_path: Path) -> None:
    write = layouts.write_pieces if name == "imagenet100" else layouts.write_subset
    index = indexed(dataset(name, write(tmp_path / "data", name)), tmp_path / "work")
    wanted = class_list(name)
    assert index.class_folders == wanted
    assert len(wanted) == (100 if name == "imagenet100" else 10)
    assert index.class_names == class_names(wanted, "imagenet")
    assert len(index.split("train")) == len(index.split("test")) == 2 * len(wanted)
    assert_labels(index, wanted)


def test_the_order_of_classes_is_that_of_the_literature() -> None:
    assert class_list("imagenette") == sorted(class_list("imagenette"))
    assert class_list("imagewoof")[:3] == ["n02096294", "n02093754", "n02111889"]
    assert class_list("imageidc") == class_list("imagenet100")[:10]
    for name in SUBSETS:
        assert set(class_list(name)) < set(imagenet_classes())


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classes of all subsets and a few more, with a flat validation set."""
    wnids = sorted({wnid for name in SUBSETS for wnid in class_list(name)} | set(SOME))
    return layouts.write_imagenet(tmp_path_factory.mktemp("data"), wnids, per_class=1)


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_is_a_view_of_imagenet(name: str, imagenet: Path, tmp_path: Path) -> None:
    index = indexed(dataset(name, imagenet), tmp_path / "work")
    assert index.class_folders == class_list(name)
    assert {path.split("/")[1] for path in index.split("train").ids} == set(class_list(name))
    assert len(index.split("train")) == len(index.split("test")) == len(class_list(name))
    assert_labels(index, [folder.name for folder in (imagenet / "train").iterdir()])


def test_a_subset_is_not_touched_by_the_other_classes(tmp_path: Path) -> None:
    root = layouts.write_imagenet(tmp_path / "data", [*class_list("imagenette"), "n15075141"])
    chosen = dataset("imagenette", root)
    before = chosen.signature()
    (root / "train" / "n15075141" / "n15075141_10.JPEG").unlink()
    assert chosen.signature() == before
    (root / "train" / "n01440764" / "n01440764_10.JPEG").unlink()
    assert chosen.signature() != before


@pytest.mark.parametrize("file", ["ILSVRC2012_validation_ground_truth.txt", "meta.mat"])
def test_another_ground_truth_is_noticed(file: str, tmp_path: Path) -> None:
    root = layouts.write_imagenet(tmp_path / "data", SOME)
    before = dataset("imagenet1k", root).signature()
    (root / layouts.DEVKIT / file).write_bytes((root / layouts.DEVKIT / file).read_bytes() + b"\n")
    assert dataset("imagenet1k", root).signature() != before


def test_a_flat_validation_image_that_is_new_is_noticed(tmp_path: Path) -> None:
    root = layouts.write_imagenet(tmp_path / "data", SOME)
    before = dataset("imagenet1k", root).signature()
    (root / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    assert dataset("imagenet1k", root).signature() != before


def test_tiny_imagenet(tmp_path: Path) -> None:
    wnids = list(reversed(SOME))  # wnids.txt is not sorted
    root = layouts.write_tiny_imagenet(tmp_path / "data", wnids)
    chosen = dataset("tinyimagenet", root)
    index = indexed(chosen, tmp_path / "work")
    assert index.class_folders == SOME
    assert index.class_names == [f"name of {wnid}" for wnid in SOME]
    assert (len(index.split("train")), len(index.split("test"))) == (10, 5)
    assert chosen.image_size == 64
    assert_labels(index, SOME)
    before = chosen.signature()
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text("".join(reversed(annotations.read_text().splitlines(keepends=True))))
    assert chosen.signature() != before


def test_tiny_imagenet_with_its_validation_images_in_class_folders(tmp_path: Path) -> None:
    root = layouts.write_tiny_imagenet(tmp_path / "data", SOME)
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (root / "val" / wnid / "images").mkdir(parents=True)
        (root / "val" / "images" / name).rename(root / "val" / wnid / "images" / name)
    (root / "val" / "val_annotations.txt").unlink()
    (root / "val" / "images").rmdir()
    assert_labels(indexed(dataset("tinyimagenet", root), tmp_path / "work"), SOME)


MISTAKES: list[tuple[str, Callable[[Path], object], list[str], str]] = [
    (
        "imagenet1k",
        lambda root: (layouts.write_training(root / "train", SOME), layouts.write_validation(root / "val", SOME)),
        [],
        "no ground truth of a flat one: give dataset.devkit=<folder",
    ),
    (
        "imagenet1k",
        lambda root: layouts.write_imagenet(root, SOME),
        ["dataset.devkit=no"],
        "dataset.devkit=no: neither",
    ),
    ("imagenet1k", lambda root: layouts.write_imagenet(root, SOME), ["dataset.classes=pets"], "dataset.classes=pets: "),
    ("imagenet1k", lambda root: (root / "ILSVRC").mkdir(parents=True), [], "/data/train (train images) is missing; "),
    ("imagewoof", lambda root: layouts.write_subset(root, "imagenette"), [], "class folder 'n02096294' is not among"),
    ("tinyimagenet", lambda root: (root / "train").mkdir(parents=True), [], "train has no class folders"),
]


@pytest.mark.parametrize(("name", "write", "settings", "words"), MISTAKES)
def test_what_is_wrong_is_said_in_one_complete_line(
    name: str, write: Callable[[Path], object], settings: list[str], words: str, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        build_index(dataset(name, tmp_path / "data", *settings), tmp_path / "work")
    first, *rest = str(caught.value).splitlines()
    assert words in first
    assert all(line.startswith("  ") for line in rest)


def damaged(file: str, content: bytes, root: Path) -> None:
    layouts.write_imagenet(root, SOME)
    (root / layouts.DEVKIT / file).write_bytes(content)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (partial(damaged, "meta.mat", b"no table"), "meta.mat: no ground truth of validation images in it"),
        (partial(damaged, "ILSVRC2012_validation_ground_truth.txt", b"1\n99\n"), "meta.mat: no ground truth"),
        (partial(damaged, "ILSVRC2012_validation_ground_truth.txt", b"1\n"), "00000002.JPEG: its class is not in the"),
        (
            partial(damaged, "ILSVRC2012_validation_ground_truth.txt", b"6\n" * 5),
            "it is of class 'n00001740', of which",
        ),
    ],
)
def test_a_damaged_devkit(
    write: Callable[[Path], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageNetConfig, "class_count", len(SOME))
    write(tmp_path / "data")
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        build_index(dataset("imagenet1k", tmp_path / "data", "dataset.classes="), tmp_path / "work")
    assert "\n" not in str(caught.value)


def test_a_wrong_folder_is_shown_with_the_layout_that_is_wanted(tmp_path: Path) -> None:
    root = layouts.write_training(tmp_path / "data" / "ILSVRC2012_img_train", [*SOME, "n02123045"], per_class=1).parent
    (root / "readme.txt").write_text("hello")
    with pytest.raises(UserError) as caught:
        dataset("imagenet1k", root).class_folders()
    first, *rest = str(caught.value).splitlines()
    assert first.startswith(f"dataset imagenet1k: folder {root}/train (train images) is missing; make it, name another")
    assert "    train/n01440764/*.JPEG ... and val/n01440764/*.JPEG ... (folders are WordNet IDs)" in rest
    there = rest.index(f"  found in {root}:")
    shown = [f"      {wnid}/" for wnid in sorted([*SOME, "n02123045"])[:4]]
    assert rest[there + 1 :] == ["    ILSVRC2012_img_train/", *shown, "      ... and 2 more", "    readme.txt"]


def test_a_missing_folder_shows_where_the_way_to_it_ends(tmp_path: Path) -> None:
    write_folder(tmp_path / "datasets" / "pets")
    with pytest.raises(UserError) as caught:
        dataset("imagenette", tmp_path / "datasets" / "imagenette2" / "160").class_folders()
    lines = str(caught.value).splitlines()
    assert "no images found in" in lines[0]
    assert "unpack fast.ai's imagenette2.tgz" in lines[0]
    assert lines[-2:] == [f"  found in {tmp_path / 'datasets'}:", "    pets/"]
