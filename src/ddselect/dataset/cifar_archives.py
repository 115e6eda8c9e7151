"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) as published: the binary version, and Python's without trusting pickle."""

import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ddselect.runtime.errors import UserError, one_line

_PIXELS = 3 * 32 * 32  # of an image: all red values row by row, then green, then blue
_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


@dataclass(frozen=True)
class Published:
    """A published form of a CIFAR dataset.

    Attributes:
        folder: Folder in the archive, and what it unpacks to.
        archive: Name of the archive.
        batches: Files of each split.
        classes: Number of classes.
        read: Labels (N,) and pixels (N, 3072) from the content of a file.
    """

    folder: str
    archive: str
    batches: dict[str, tuple[str, ...]]
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
                except _DAMAGES as error:
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


def _binary(data: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + _PIXELS)
    return rows[:, label_bytes - 1].astype(np.int64), rows[:, label_bytes:]  # CIFAR-100: coarse label, then fine


class _Bytes:
    """Stands for an array of bytes: what a pickle says about it is kept, and nothing of NumPy is called."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, _, is_fortran, data = self.state
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Unpickler(pickle.Unpickler):
    """Knows numbers, strings, lists, dicts and arrays, as stand-ins; anything else is refused."""

    _KNOWN = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which CIFAR does not")
        return _stand_in


def _stand_in(*_: object) -> _Bytes:
    return _Bytes()


def _pickled(data: bytes, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    content = _Unpickler(BytesIO(data), encoding="bytes").load()
    return np.array(content[key], np.int64), content[b"data"].array()


_DAMAGES = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError),
    *(pickle.UnpicklingError, tarfile.TarError, zlib.error),
)

FORMS: dict[str, tuple[Published, ...]] = {
    "cifar10": (
        Published(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            {"train": tuple(f"{name}.bin" for name in _BATCHES), "test": ("test_batch.bin",)},
            10,
            lambda data: _binary(data, 1),
        ),
        Published(
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            {"train": _BATCHES, "test": ("test_batch",)},
            10,
            lambda data: _pickled(data, b"labels"),
        ),
    ),
    "cifar100": (
        Published(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            {"train": ("train.bin",), "test": ("test.bin",)},
            100,
            lambda data: _binary(data, 2),
        ),
        Published(
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            {"train": ("train",), "test": ("test",)},
            100,
            lambda data: _pickled(data, b"fine_labels"),
        ),
    ),
}
