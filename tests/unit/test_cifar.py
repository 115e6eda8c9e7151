"""CIFAR-10 and CIFAR-100 as published, through the index; archives that are not to be trusted."""

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ddselect.dataset import cifar
from ddselect.dataset.cifar import FORMS, CifarConfig
from ddselect.dataset.classes import class_list
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.runtime.errors import UserError
from tests.helpers.layouts import cifar_images, python2_pickle, write_cifar


def dataset(root: Path, classes: int = 10) -> CifarConfig:
    name = f"cifar{classes}"
    return CifarConfig(name, 32, root=str(root), test="test", classes=name)


def assert_images(index: Index, split: str, per_class: int, seed: int) -> None:
    """The images of a split are those of the archive, in its order within each class, to the last bit."""
    part = index.split(split)
    labels, images = cifar_images(len(index.class_folders), per_class, seed)
    assert part.labels.tolist() == sorted(labels.tolist())
    for row in range(len(part)):
        number = int(Path(part.ids[row]).stem)
        assert labels[number] == part.labels[row]
        assert (part.read(row, 32).permute(1, 2, 0).numpy() == images[number]).all()


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("classes", [10, 100])
def test_a_published_archive(classes: int, version: str, packed: bool, tmp_path: Path) -> None:
    root = write_cifar(tmp_path / "data", classes, version, packed)
    build_index(dataset(root, classes), tmp_path / "work")
    index = read_index(tmp_path / "work", root)
    assert index.class_folders == class_list(f"cifar{classes}")
    assert len(index.class_folders) == classes
    if classes == 100:
        assert index.class_names[1] == "aquarium fish"
    assert_images(index, "train", 5, 1)
    assert_images(index, "test", 1, 2)


def test_the_folder_of_the_batches_may_be_the_root(tmp_path: Path) -> None:
    root = write_cifar(tmp_path / "data", 10, "binary", packed=False)
    build_index(dataset(root / "cifar-10-batches-bin"), tmp_path / "work")
    assert_images(read_index(tmp_path / "work", root), "train", 5, 1)


def test_class_folders(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data", 10, "binary", packed=True)
    root = dataset(tmp_path / "data").provide(tmp_path / "unpacked")
    build_index(dataset(root), tmp_path / "work")
    assert_images(read_index(tmp_path / "work", root), "train", 5, 1)
    (root / "train" / "frog").rename(root / "train" / "toad")
    with pytest.raises(UserError, match="class folder 'frog' is not among the train images"):
        build_index(dataset(root), tmp_path / "again")


def test_an_unpacking_that_was_cut_off_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_cifar(tmp_path / "data", 10, "binary", packed=True)
    saved = cifar.Image.Image.save
    written: list[str] = []

    def save(image: cifar.Image.Image, path: Path, **options: object) -> None:
        if len(written) == 11:
            path.write_bytes(b"torn")
            raise KeyboardInterrupt
        written.append(path.name)
        saved(image, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cifar.Image.Image, "save", save)
        with pytest.raises(KeyboardInterrupt):
            dataset(root).provide(tmp_path / "work")
    build_index(dataset(root), tmp_path / "work")
    assert_images(read_index(tmp_path / "work", root), "train", 5, 1)


def test_asking_for_the_classes_unpacks_nothing(tmp_path: Path) -> None:
    chosen = dataset(write_cifar(tmp_path / "data", 10, "python", packed=True))
    assert chosen.class_folders()[9] == "truck"
    assert chosen.signature() == chosen.signature()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_another_archive_is_noticed(tmp_path: Path) -> None:
    root = write_cifar(tmp_path / "data", 10, "binary", packed=True)
    before = dataset(root).signature()
    os.utime(root / "cifar-10-binary.tar.gz", ns=(1, 1))
    assert dataset(root).signature() != before


class Malice:
    """What runs a command when it is read with pickle."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.place}",)


class MaliceInNumpy(Malice):
    """The same behind a name that looks harmless."""

    def __reduce__(self) -> tuple[object, ...]:
        return np.load, (str(self.place), None, True)


@pytest.mark.parametrize("kind", [Malice, MaliceInNumpy])
def test_a_malicious_pickle_is_refused(kind: type[Malice], tmp_path: Path) -> None:
    root = write_cifar(tmp_path / "data", 10, "python", packed=False)
    file = root / "cifar-10-batches-py" / "data_batch_2"
    file.write_bytes(pickle.dumps({b"labels": [1], b"data": kind(tmp_path / "owned")}, 3))
    with pytest.raises(
        UserError, match=r"data_batch_2 cannot be read \(it holds (posix.system|numpy\S*load), "
    ) as caught:
        build_index(dataset(root), tmp_path / "work")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        python2_pickle([1, 2]),
        python2_pickle({b"labels": [1, 2]}),
        python2_pickle({b"labels": [1, 2], b"data": b"no array"}),
        python2_pickle({b"labels": [1, 2], b"data": np.zeros((1, 3072), np.uint8)}),
        python2_pickle({b"labels": [1, 10], b"data": np.zeros((2, 3072), np.uint8)}),
        python2_pickle({b"labels": [1, 1], b"data": np.zeros((2, 3072), np.float32)}),
    ],
)
def test_a_damaged_pickle(content: bytes, tmp_path: Path) -> None:
    root = write_cifar(tmp_path / "data", 10, "python", packed=False)
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match=r"cifar-10-batches-py: test_batch cannot be read \(.+\); get cifar-10-python"):
        build_index(dataset(root), tmp_path / "work")


def test_the_order_of_bytes_is_the_one_that_the_pickle_names(tmp_path: Path) -> None:
    _, images = cifar_images(10, 1, 5)
    rows = np.asfortranarray(images.transpose(0, 3, 1, 2).reshape(10, -1))
    root = write_cifar(tmp_path / "data", 10, "python", packed=False)
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(python2_pickle({b"labels": [0] * 10, b"data": rows}))
    (form,) = [form for form in FORMS["cifar10"] if form.place(root)]
    *_, (split, _, found) = form.images(root / "cifar-10-batches-py")
    assert split == "test"
    assert (found == images).all()


@pytest.mark.parametrize("cut", [0, 5, 2000, -5000])
def test_an_archive_that_is_cut_off(cut: int, tmp_path: Path) -> None:
    root = write_cifar(tmp_path / "data", 10, "binary", packed=True)
    archive = root / "cifar-10-binary.tar.gz"
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"cifar-10-binary.tar.gz: \S+ cannot be read \(.+\); get cifar-10-binary"):
        build_index(dataset(root), tmp_path / "work")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / "cifar-10-python.tar.gz", "w:gz"):
        pass
    with pytest.raises(UserError, match="data_batch_1 cannot be read"):
        build_index(dataset(tmp_path / "data"), tmp_path / "work")


def test_a_folder_without_any_of_it_says_what_is_wanted(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data", 10, "binary", packed=True)
    with pytest.raises(UserError, match=r"no archive of cifar100 and no class folders found in .*data; ") as caught:
        dataset(tmp_path / "data", 100).class_folders()
    assert "cifar-100-python.tar.gz" in str(caught.value)
    assert str(caught.value).endswith("    cifar-10-binary.tar.gz")
