"""Class folders as users lay them out, and what is refused."""

from collections import Counter
from pathlib import Path

import pytest

from ddselect.dataset.classes import class_names, imagenet_classes
from ddselect.dataset.folders import ClutteredDigitsConfig, ImageFolderConfig, SourceFile
from ddselect.runtime.errors import UserError
from tests.helpers.data import folder_dataset, picture, write_folder


def files_of(root: Path, **options: object) -> list[SourceFile]:
    return folder_dataset(root, **options).files(root, Counter())


def test_files_are_sorted_by_split_class_and_name(tmp_path: Path) -> None:
    root = write_folder(tmp_path, per_class=3)
    (root / "train" / ".cache").mkdir()
    picture(8, 8).save(root / "train" / "ant" / "Z.JPG", format="jpeg")
    files = files_of(root)
    assert [f.split for f in files] == ["train"] * 10 + ["test"] * 9
    paths = [f.path for f in files]
    assert "train/ant/Z.JPG" in paths
    assert paths[:10] == sorted(paths[:10])
    assert all(f.path.split("/")[1] == f.folder for f in files)


def test_nested_files_belong_to_their_class_folder_if_that_is_said(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    (root / "train" / "ant" / "images").mkdir()
    picture(8, 8).save(root / "train" / "ant" / "images" / "x.png")
    (found,) = [f for f in files_of(root, nested="use") if f.path.endswith("x.png")]
    assert (found.path, found.folder, found.split) == ("train/ant/images/x.png", "ant", "train")


def test_other_subfolder_names(tmp_path: Path) -> None:
    root = write_folder(tmp_path, splits=("training", "testing"))
    files = files_of(root, train="training", test="testing")
    assert {(f.split, f.path.split("/")[0]) for f in files} == {("train", "training"), ("test", "testing")}


def test_holdout_divides_every_class_by_name(tmp_path: Path) -> None:
    root = write_folder(tmp_path, splits=("",), per_class=40)
    files = files_of(root, holdout=0.25)
    train, test = ({f.path for f in files if f.split == split} for split in ("train", "test"))
    assert not train & test
    assert len(train | test) == 120
    assert 18 <= len(test) <= 42
    assert {p.split("/")[0] for p in test} == {"ant", "bee", "cow"}
    some = next(iter(train))
    (root / some).unlink()  # other images stay on their side
    after = {f.path for f in files_of(root, holdout=0.25) if f.split == "test"}
    assert after == test
    larger = {f.path for f in files_of(root, holdout=0.5) if f.split == "test"}
    assert test < larger


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_a_class_too_small_for_the_holdout_is_named_with_it(tmp_path: Path, share: float) -> None:
    root = write_folder(tmp_path, splits=("",), per_class=2)
    split = "test" if share < 0.5 else "train"
    with pytest.raises(
        UserError, match=rf"^dataset.holdout={share}: none of the 2 images of class 'ant' .* {split} split"
    ):
        folder_dataset(root, holdout=share).files(root, Counter())


def test_what_macos_leaves_is_named_for_what_it_is(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    (root / "train" / "__MACOSX" / "ant").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train/__MACOSX: macOS adds it to zip archives, .*; remove it"):
        folder_dataset(root).files(root, Counter())


def test_missing_root_and_subfolders_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder given.*dataset.root=<folder>"):
        ImageFolderConfig("folder", 16).provide(tmp_path)
    with pytest.raises(UserError, match=f"no images found in '{tmp_path / 'nowhere'}'; ask Ann"):
        ImageFolderConfig("folder", 16, root=str(tmp_path / "nowhere"), hint="ask Ann").provide(tmp_path)
    root = write_folder(tmp_path / "data", splits=("train",))
    with pytest.raises(UserError, match=r"data/val \(test images\) is missing.*dataset.test=.*dataset.holdout"):
        files_of(root)


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for split in ("train", "val"):
        (root / split / "dog").mkdir()
    with pytest.raises(UserError, match="class 'dog' has no train images in"):
        files_of(root)
    (tmp_path / "bare" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="has no class folders"):
        files_of(tmp_path / "bare")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_in_one_split_only_is_refused(tmp_path: Path, split: str) -> None:
    root = write_folder(tmp_path)
    write_folder(tmp_path, splits=(split,), classes=("yak",))
    with pytest.raises(UserError, match=r"class folder 'yak' is in one split only \(1 such"):
        files_of(root)


def test_signature_follows_the_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    before = folder_dataset(root).signature()
    assert folder_dataset(root).signature() == before
    (root / "train" / "ant" / "000.png").rename(root / "train" / "ant" / "new.png")
    assert folder_dataset(root).signature() != before


def test_signature_follows_nested_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    (root / "train" / "ant" / "sub").mkdir()
    before = folder_dataset(root).signature()
    picture(8, 8).save(root / "train" / "ant" / "sub" / "x.png")
    assert folder_dataset(root).signature() != before


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"image_size": 4}, "image_size=4"), ({"names": "x"}, "names=x: choose folder or imagenet"),
     ({"broken": "x"}, "broken=x: choose error or skip"), ({"holdout": 1.0}, "holdout=1.0")],
)  # fmt: skip
def test_values_out_of_range(bad: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=f"dataset.{words}"):
        folder_dataset(Path(), **bad)


def test_the_embedded_dataset_has_one_size() -> None:
    sizes = {"train": 10, "val": 10, "test": 10}
    with pytest.raises(UserError, match="32-pixel scenes"):
        ClutteredDigitsConfig("digits", 64, sizes=sizes)
    for bad in ({"train": 10, "test": 10}, {**sizes, "val": 9}):
        with pytest.raises(UserError, match=r"dataset.sizes=.*at least 10 scenes"):
            ClutteredDigitsConfig("digits", 32, sizes=bad)


def test_class_names_from_wordnet_ids() -> None:
    folders = ["n02102040", "n01440764"]
    assert class_names(folders, "folder") == folders
    assert class_names(folders, "imagenet") == ["English springer", "tench"]
    with pytest.raises(
        UserError, match=r"class folder 'cat' is not an ImageNet-1K WordNet ID; use dataset.names=folder"
    ):
        class_names(["n01440764", "cat"], "imagenet")


def test_imagenet_class_order_is_that_of_pretrained_models() -> None:
    wnids = imagenet_classes()
    assert len(set(wnids)) == 1000
    assert wnids == sorted(wnids)
    assert (wnids[0], wnids[207], wnids[999]) == ("n01440764", "n02099601", "n15075141")
