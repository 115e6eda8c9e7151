"""What the classes of a dataset are: where the layout does not say it clearly, the run asks instead of training."""

import re
import shutil
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddselect.dataset.cifar import CifarConfig
from ddselect.dataset.classes import class_list
from ddselect.dataset.folders import ImageFolderConfig
from ddselect.dataset.imagenet import ImageNetConfig, TinyImageNetConfig
from ddselect.dataset.index import build_index, read_index
from ddselect.dataset.shards import TarShardsConfig
from ddselect.runtime.errors import UserError
from tests.fault.runs import run_here
from tests.helpers.data import folder_dataset, picture
from tests.helpers.layouts import shade, write_shards, write_tiny_imagenet, write_training

TWO = ("cat", "dog")
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
Write = Callable[[Path], object]


def put(*folders: str, images: int = 4) -> Write:
    """Writes images into each of some folders below the root."""

    def write(root: Path) -> None:
        for number, folder in enumerate(folders):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for image in range(images):
                picture(20, 20, seed=10 * number + image).save(root / folder / f"{image}.jpg")

    return write


def in_each(*inner: str, splits: tuple[str, ...] = ("train", "val"), classes: tuple[str, ...] = TWO) -> Write:
    """The same of some folders in each class folder of each split."""
    return put(*(f"{split}/{name}/{folder}" for split in splits for name in classes for folder in inner))


def suffixless(root: Path) -> None:
    in_each("", "parts")(root)
    for file in root.glob("*/*/parts/*.jpg"):
        file.rename(file.with_suffix(""))


def suffixless_below_alone(root: Path) -> None:
    in_each("parts")(root)
    for file in root.glob("*/*/parts/*.jpg"):
        file.rename(file.with_suffix(""))


def lists_below(root: Path) -> None:
    in_each("")(root)
    for folder in root.glob("*/*"):
        (folder / "annotations").mkdir()
        (folder / "annotations" / "0.xml").write_text("<object/>")


ASKED: dict[str, tuple[Write, dict[str, Any], list[str]]] = {
    "a folder too many": (put("photos/cat", "photos/dog"), {"holdout": 0.2}, ["photos/", "cat/", "root={root}/photos"]),
    "two folders too many": (put("a/b/cat", "a/b/dog"), {"holdout": 0.2}, ["one class folder, a/", "root={root}/a"]),
    "splits below": (
        in_each("", splits=("photos/train", "photos/val")), {}, ["train images) is missing", "root={root}/photos"],
    ),
    "splits below, held out": (
        in_each("", splits=("photos/train", "photos/val")), {"holdout": 0.2},
        ["one class folder, photos/", "train/, val/", "root={root}/photos dataset.holdout=0"],
    ),
    "splits taken for classes": (in_each(""), {"holdout": 0.2}, ["has train/ and val/", "dataset.holdout=0"]),
    "splits without classes taken for these": (put("train", "val"), {"holdout": 0.2}, ["has train/ and val/"]),
    "a folder too many in each split": (
        in_each("", splits=("train/train", "val/val")), {}, ["one class folder, train/", "dataset.train=train/train"],
    ),
    "a folder too many in the second split": (
        in_each("", splits=("train", "val/val")), {}, ["one class folder, val/", "dataset.test=val/val"],
    ),
    "images folders": (in_each("images"), {}, ["{root}/train/cat has no files itself", "images/", "nested=use"]),
    "images folders, held out": (put("cat/images", "dog/images"), {"holdout": 0.3}, ["cat has no files", "nested=use"]),
    "thumbnails": (in_each("", "thumbs"), {}, ["{root}/train/cat has 4 files", "4 in folders", "nested=skip"]),
    "thumbnails of one class": (
        lambda root: (in_each("")(root), put("val/dog/small")(root)), {}, ["{root}/val/dog has 4 files", "small/"],
    ),
    "mixed depth": (
        put("train/cat", "train/dog/2019", "train/dog/2020", "val/cat", "val/dog"), {},
        ["dog has no files", "2019/, 2020/"],
    ),
    "groups of classes": (
        put("animals/cat", "animals/dog", "things/car", "things/bus"), {"holdout": 0.2},
        ["animals has no", "cat/, dog/"],
    ),
    "deeper files without a suffix alone": (suffixless_below_alone, {}, ["cat has no files itself", "parts/"]),
    "a single class": (in_each("", classes=("cat",)), {}, ["one class folder, cat/", "put each class into"]),
    "a single class, held out": (put("cat"), {"holdout": 0.2}, ["one class folder, cat/", "put each class into"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_a_layout_that_may_be_meant_otherwise_is_asked_about(case: str, tmp_path: Path) -> None:
    write, settings, words = ASKED[case]
    write(tmp_path / "data")
    with pytest.raises(UserError) as caught:
        build_index(folder_dataset(tmp_path / "data", **settings), tmp_path / "work")
    first = str(caught.value).splitlines()[0]
    for word in words:
        assert word.format(root=tmp_path / "data") in first
    assert not (tmp_path / "work" / "images.parquet").exists()


ANSWERED: dict[str, tuple[Write, dict[str, Any], dict[str, int], dict[str, int]]] = {
    "nested images": (in_each("images"), {"nested": "use"}, {"train": 8, "test": 8}, {}),
    "mixed": (in_each("", "more"), {"nested": "use"}, {"train": 16, "test": 16}, {}),
    "thumbnails": (
        in_each("", "thumbs"), {"nested": "skip"}, {"train": 8, "test": 8}, {".jpg in folders below": 16},
    ),
    "lists below": (lists_below, {}, {"train": 8, "test": 8}, {".xml in folders below": 4}),
    "files that do not say what they are": (
        suffixless, {}, {"train": 8, "test": 8}, {"without suffix in folders below": 16},
    ),
    "the root that was proposed": (
        in_each("", splits=("photos/train", "photos/val")), {"root": "photos"}, {"train": 8, "test": 8}, {},
    ),
    "the folder that was proposed": (
        in_each("", splits=("train/train", "val/val")), {"train": "train/train", "test": "val/val"},
        {"train": 8, "test": 8}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERED)
def test_the_answer_is_taken(case: str, tmp_path: Path) -> None:
    write, settings, images, left_out = ANSWERED[case]
    write(tmp_path / "data")
    settings = dict(settings)
    root = tmp_path / "data" / settings.pop("root", "")
    facts = build_index(folder_dataset(root, **settings), tmp_path / "work")
    assert (facts["images"], facts["left_out"], facts["classes"]) == (images, left_out, 2)


def test_a_question_is_one_line_and_ends_the_run_before_any_work(tmp_path: Path) -> None:
    put("photos/cat", "photos/dog")(tmp_path / "photos")
    chosen = ("dataset=imagefolder", "dataset.root=photos", "dataset.holdout=0.2", "teacher=trained")
    for more in ("selection=random_image", "dry_run=true", "stages=[index]"):
        line = run_here(tmp_path, *chosen, "compare=[]", more).assert_one_line(2)
        assert "the least that can be told apart" in line
    assert not list(tmp_path.glob("store/*/*/images.parquet"))


class TestShards:
    """The same in tar files, where a folder around an image may be its class."""

    def pack(self, root: Path, *folders: str, top: str = "") -> TarShardsConfig:
        """One shard of each split with an image in each folder; ``top`` around them is called as ``{shard}`` is."""
        root.mkdir()
        picture(20, 20).save(root / "image.jpg")
        for split in ("train", "val"):
            with tarfile.open(root / f"{split}-00000.tar", "w") as archive:
                for number, folder in enumerate(folders):
                    name = f"{folder}/{number}.jpg"
                    archive.add(root / "image.jpg", f"{top.format(shard=f'{split}-00000')}{name}")
        return TarShardsConfig("shards", 16, root=str(root))

    @pytest.mark.parametrize(
        ("folders", "words"),
        [
            (("cat/images", "dog/images"), ["cat/images/ and dog/images/"]),
            (("cat/images", "cat/masks", "dog/images"), ["cat/images/ and dog/images/"]),
            (("cat", "cat/thumbs", "dog"), ["cat/ and cat/thumbs/"]),
            (("cat", "more/dog"), ["cat/ and more/dog/"]),
            (("a/cat", "b/cat", "b/dog"), ["a/cat/ and b/cat/"]),
            (("train/images",), ["one class, ['images']"]),
            (("cat", "cat"), ["one class, ['cat']"]),
        ],
    )
    def test_folders_that_may_be_no_classes(self, folders: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
        dataset = self.pack(tmp_path / "data", *folders)
        for look in (dataset.class_folders, lambda: build_index(dataset, tmp_path / "work")):
            with pytest.raises(UserError, match=r"write <class>/<name>\.jpg") as caught:
                look()
            assert all(word in str(caught.value) for word in words)

    @pytest.mark.parametrize("top", ["", "./", "images/", "{shard}/", "some/way/"])
    def test_folders_side_by_side_are_classes(self, top: str, tmp_path: Path) -> None:
        build_index(self.pack(tmp_path / "data", "cat", "dog", "dog", top=top), tmp_path / "work")
        index = read_index(tmp_path / "work", tmp_path / "data")
        assert (index.class_folders, index.split("train").labels.tolist()) == ([*TWO], [0, 1, 1])

    @pytest.mark.parametrize("style", ["name", "folder"])
    @pytest.mark.parametrize("listed", [["1", "2", "3", "0"], ["3", "0", "2", "1"], ["0", "1", "2", "3"]])
    def test_a_number_that_stands_in_the_list_is_a_name(self, style: str, listed: list[str], tmp_path: Path) -> None:
        names = ["0", "1", "2", "3"]
        for split in ("train", "val"):
            write_training(tmp_path / split, names, per_class=1)
            write_shards(tmp_path / "shards", tmp_path / split, split, style)
        (tmp_path / "shards" / "classes.txt").write_text("\n".join(listed))
        build_index(TarShardsConfig("shards", 16, root=str(tmp_path / "shards")), tmp_path / "work")
        index = read_index(tmp_path / "work", tmp_path / "shards")
        assert index.class_folders == listed
        for row, label in enumerate(index.labels.tolist()):
            shown = index.read(row, 8).float().mean((1, 2)).numpy()
            assert abs(shown - shade(names.index(listed[label]))).max() < 12

    def test_a_class_that_is_listed_twice_is_refused(self, tmp_path: Path) -> None:
        dataset = self.pack(tmp_path / "data", "cat", "dog")
        (tmp_path / "data" / "classes.txt").write_text("cat\ndog\ncat\n")
        with pytest.raises(UserError, match="class 'cat' stands there twice"):
            dataset.class_folders()

    def test_names_that_look_alike_are_one_class(self, tmp_path: Path) -> None:
        dataset = self.pack(tmp_path / "data", NFC, NFD, "dog")
        build_index(dataset, tmp_path / "w")
        assert read_index(tmp_path / "w", tmp_path / "data").split("test").labels.tolist() == [0, 0, 1]
        (tmp_path / "data" / "classes.txt").write_text(f"dog\n{NFD}\n")
        build_index(dataset, tmp_path / "w2")
        assert read_index(tmp_path / "w2", tmp_path / "data").class_folders == ["dog", NFC]


@pytest.mark.parametrize(
    "folders",
    [
        (f"train/{NFC}", "train/dog", f"val/{NFD}", "val/dog"),
        (f"train/{NFD}", "train/dog", f"val/{NFC}", "val/dog"),
        (f"train/{NFD}", f"train/{NFC}", "train/dog", f"val/{NFC}", "val/dog"),
    ],
)
def test_folders_that_look_alike_are_one_class(folders: tuple[str, ...], tmp_path: Path) -> None:
    put(*folders)(tmp_path / "data")
    (tmp_path / "names.csv").write_text(f"class,name\n{NFD},coffee house\ndog,dog\n", encoding="utf-8")
    dataset = folder_dataset(tmp_path / "data", names=str(tmp_path / "names.csv"))
    facts = build_index(dataset, tmp_path / "work")
    index = read_index(tmp_path / "work", tmp_path / "data")
    assert (index.class_folders, index.class_names) == ([NFC, "dog"], ["coffee house", "dog"])
    assert facts["images"] == {"train": 4 * (len(folders) - 2), "test": 8}
    for row in range(len(index)):
        index.decode(row)  # by the names that the files have


def test_a_class_in_two_pieces_has_the_images_of_both(tmp_path: Path) -> None:
    wnids = class_list("imagenette")
    write_training(tmp_path / "train.X1", wnids)
    write_training(tmp_path / "train.X2", wnids[:1], per_class=5)
    write_training(tmp_path / "val.X", wnids)
    dataset = ImageNetConfig("imagenette", 16, root=str(tmp_path), classes="imagenette")
    assert Counter(file.split for file in dataset.files(tmp_path, Counter())) == {"train": 25, "test": 20}


NUMBERS: dict[str, tuple[type[ImageFolderConfig], int]] = {
    "ten as ImageNet-1K": (ImageNetConfig, 10),
    "999 as ImageNet-1K": (ImageNetConfig, 999),
    "1001 as ImageNet-1K": (ImageNetConfig, 1001),
    "202 as Tiny-ImageNet": (TinyImageNetConfig, 202),
    "199 as Tiny-ImageNet": (TinyImageNetConfig, 199),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_a_published_dataset_has_as_many_classes_as_it_has(case: str, tmp_path: Path) -> None:
    kind, number = NUMBERS[case]
    for split in ("train", "val"):
        for label in range(number):
            (tmp_path / split / f"n{label:08d}").mkdir(parents=True)
    with pytest.raises(UserError, match=re.escape(f"has {number} class folders, and the dataset {kind.class_count}")):
        kind("name", 16, root=str(tmp_path)).class_folders()
    told = kind("name", 16, root=str(tmp_path), classes="any")
    assert len(told.class_folders()) == number
    with pytest.raises(UserError, match=r"dataset.classes=any: choose cifar10 or"):
        folder_dataset(tmp_path, classes="any")


def test_the_right_number_of_classes_passes(tmp_path: Path) -> None:
    wnids = [f"n{label:08d}" for label in range(200)]
    root = write_tiny_imagenet(tmp_path / "tiny", wnids)
    facts = build_index(TinyImageNetConfig("tiny", 64, root=str(root)), tmp_path / "work")
    assert (facts["classes"], facts["images"]) == (200, {"train": 400, "test": 200})
    assert facts["left_out"] == {".txt": 201}  # boxes of each class, and the table


def test_what_is_not_of_the_list_is_counted(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_training(tmp_path / split, [*class_list("cifar10"), "zebra"])
    dataset = CifarConfig("cifar10", 32, root=str(tmp_path), test="test", classes="cifar10")
    assert build_index(dataset, tmp_path / "work")["left_out"] == {"class folders that are not of cifar10": 1}


def test_images_of_classes_that_are_not_there_are_counted(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny", [f"n{label:08d}" for label in range(4)])
    shutil.rmtree(root / "train" / "n00000003")
    facts = build_index(TinyImageNetConfig("tiny", 64, root=str(root), classes="any"), tmp_path / "work")
    assert (facts["classes"], facts["images"]) == (3, {"train": 6, "test": 3})
    assert facts["left_out"]["test images of other classes"] == 1  # type: ignore[index]
