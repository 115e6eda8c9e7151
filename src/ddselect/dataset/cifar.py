"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): the published archives, written out once as PNG files, or class folders.

Python's version is read without trusting pickle.
"""

import pickle
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ddselect.dataset.classes import class_list
from ddselect.dataset.folders import ImageFolderConfig
from ddselect.runtime.errors import UserError, one_line
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64

_IMAGES = "images"
_ALL = 60000  # images of each of the two
_PIXELS = 3 * 32 * 32  # of an image: all red values row by row, then green, then blue
_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
_KNOWN = ("numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype")


@dataclass(frozen=True)
class Published:
    """A published form of a CIFAR dataset.

    Attributes:
        read: Labels (N,) and pixels (N, 3072) from the content of a file.
    """

    folder: str  # folder in the archive, and what it unpacks to
    archive: str  # name of the archive
    batches: Mapping[str, Sequence[str]]  # files of each split
    classes: int
    read: Callable[[bytes], tuple[np.ndarray, np.ndarray]]

    def place(self, root: Path) -> Path | None:
        """The archive in a root, or the folder of its files, which the root may be itself; None if it is not there."""
        for folder in (root, root / self.folder):
            if all((folder / name).is_file() for names in self.batches.values() for name in names):
                return folder
        return root / self.archive if (root / self.archive).is_file() else None

    def images(self, place: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Split, labels (N,) int64 and images (N, 32, 32, 3) uint8 of every file.

        Raises:
            UserError: A file is missing, damaged, or not what it should be.
        """
        for split, names in self.batches.items():
            for name in names:
                try:
                    labels, pixels = self.read(self._content(place, name))
                    images = pixels.reshape(len(labels), 3, 32, 32).transpose(0, 2, 3, 1)
                    if not len(labels) or labels.min() < 0 or labels.max() >= self.classes:
                        raise ValueError(f"labels from 0 to {self.classes - 1} are expected")
                except Exception as error:  # readers of damaged files raise anything
                    raise UserError(
                        f"{place}: {name} cannot be read ({one_line(error) or type(error).__name__}); "
                        f"get {self.archive} again"
                    ) from None
                yield split, labels, images

    def _content(self, place: Path, name: str) -> bytes:
        if place.is_dir():
            return (place / name).read_bytes()
        with tarfile.open(place) as archive:
            member = archive.extractfile(f"{self.folder}/{name}")
            if member is None:
                raise ValueError("no file")
            return member.read()


Forms = tuple[Published, ...]


def _binary(data: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + _PIXELS)
    return rows[:, label_bytes - 1].astype(np.int64), rows[:, label_bytes:]  # CIFAR-100: coarse label, then fine


class _Bytes:
    """Stands for an array of bytes: what a pickle says about it is kept, and nothing of NumPy is called."""

    state: Any = None

    def __init__(self, *_: object) -> None:
        """What the pickle makes it from says nothing that is needed."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, _, is_fortran, data = self.state
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Unpickler(pickle.Unpickler):
    """Knows numbers, strings, lists, dicts and arrays, as stand-ins; anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module.replace('._core.', '.core.')}.{name}" not in _KNOWN:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which CIFAR does not")
        return _Bytes


def _pickled(data: bytes, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    content = _Unpickler(BytesIO(data), encoding="bytes").load()
    return np.array(content[key], np.int64), content[b"data"].array()


def _forms(classes: int, folders: tuple[str, str], train: Sequence[str], test: str, label: int, key: bytes) -> Forms:
    """The binary version and Python's of a dataset: their folders, files, bytes of a label and key of the labels."""
    binary, python = f"cifar-{classes}-binary.tar.gz", f"cifar-{classes}-python.tar.gz"
    files = {"train": [f"{name}.bin" for name in train], "test": [f"{test}.bin"]}
    return (
        Published(folders[0], binary, files, classes, partial(_binary, label_bytes=label)),
        Published(folders[1], python, {"train": train, "test": [test]}, classes, partial(_pickled, key=key)),
    )


FORMS = {
    "cifar10": _forms(10, ("cifar-10-batches-bin", "cifar-10-batches-py"), _BATCHES, "test_batch", 1, b"labels"),
    "cifar100": _forms(100, ("cifar-100-binary", "cifar-100-python"), ["train"], "test", 2, b"fine_labels"),
}


@dataclass
class CifarConfig(ImageFolderConfig):
    """An archive as published (binary or Python's), packed or not, or ``train`` and ``test`` with class folders.

    ``classes`` is cifar10 or cifar100. A class is called as its folder, with spaces for underscores.
    """

    layout: ClassVar[str] = (
        "cifar-10-binary.tar.gz, cifar-10-python.tar.gz, cifar-100-binary.tar.gz or cifar-100-python.tar.gz, or one of "
        "them unpacked\nor {train}/<class>/*.png and {test}/<class>/*.png"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes not in FORMS:
            raise UserError(f"dataset.classes={self.classes}: choose {' or '.join(FORMS)}")

    def provide(self, folder: Path) -> Path:
        root = super().provide(folder)
        form, place = self._published(root)
        if form is None or place is None:
            return root
        self._write(form, place, folder)
        return (folder / _IMAGES).absolute()

    def class_folders(self) -> list[str]:
        self._published(super().provide(Path()))  # nothing else is looked at
        return class_list(self.classes)

    def class_names(self, folders: list[str]) -> list[str]:
        return [name.replace("_", " ") for name in super().class_names(folders)]

    def counts(self) -> dict[str, int]:
        return {} if self._published(super().provide(Path()))[1] else super().counts()

    def signature(self) -> str:
        _, place = self._published(super().provide(Path()))
        if place is None:
            return super().signature()
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        return str(key64(*[f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]))

    def _published(self, root: Path) -> tuple[Published | None, Path | None]:
        """The published form that a root holds, and where; neither for class folders.

        Raises:
            UserError: It holds nothing of all this.
        """
        for form in FORMS[self.classes]:
            if place := form.place(root):
                return form, place
        if not (root / self.train).is_dir():
            raise self._refusal(f"no archive of {self.classes} and no class folders found in {root}; {self.hint}", root)
        return None, None

    def _write(self, form: Published, place: Path, folder: Path) -> None:
        """Writes ``<folder>/images/<split>/<class>/<number>.png``."""
        names = class_list(self.classes)
        for split in form.batches:
            for name in names:
                (folder / _IMAGES / split / name).mkdir(parents=True, exist_ok=True)
        with counting("unpacking", _ALL, "images") as counter:
            numbers = {split: count() for split in form.batches}
            for split, labels, images in form.images(place):
                for label, pixels in zip(labels.tolist(), images, strict=True):
                    path = folder / _IMAGES / split / names[label] / f"{next(numbers[split]):05d}.png"
                    Image.fromarray(pixels).save(path, compress_level=1)
                    counter.advance()
