"""A distilled set that others made: it stands beside ours as it is, so there is nothing to select."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from ddselect.dataset.folders import DatasetConfig
from ddselect.dataset.formats import is_named_as_picture
from ddselect.dataset.images import Source, decode_image
from ddselect.dataset.layout import files_below, folders_signature, subfolders, wrong_layout
from ddselect.runtime.errors import UserError, choose
from ddselect.runtime.hub import HUB, fetched
from ddselect.runtime.store import execution
from ddselect.selection.base import SelectionConfig

STATISTICS = {  # mean and standard deviation of each channel of images in [0, 1], as published code has them
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "cifar100": ([0.5071, 0.4866, 0.4409], [0.2673, 0.2564, 0.2762]),
    "half": ([0.5] * 3, [0.5] * 3),
}
_LAYOUT = """<class>/*.jpg (any image format), classes called as the dataset's or by their position: 00000, 00001 ...
or a .pt file of images (N, 3, S, S) and labels (N,)"""


@dataclass(frozen=True)
class GivenSet:
    """A distilled set as it was found, in class order."""

    sources: list[str]  # what each image is called
    labels: np.ndarray  # (N,) int64 classes, rising
    read: Callable[[int], Image.Image]  # an image, upright and RGB
    odd: list[str]  # what to know of it, in a few words each


@dataclass
class GivenConfig(SelectionConfig):
    """A set in a folder or a file; see ``conf/selection/given.yaml``."""

    root: str = execution("")
    normalisation: str | None = None

    ranks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalisation not in (None, *STATISTICS):
            known = choose(str(self.normalisation), [*STATISTICS, "null"])
            raise UserError(f"selection.normalisation={self.normalisation}: {known}")

    def resolve(self, factor: int, whole: float, soft: bool) -> "GivenConfig":
        """Refuses a share between none and all of whole images: which these are is not known."""
        if whole not in (0, 1):
            raise UserError(f"composition.whole={whole}: images of a given set are all whole (1) or all stitched (0)")
        return self

    @property
    def place(self) -> Path:
        """Where it lies; a set of the hub is fetched, but for labels that are stored beside it."""
        if not self.root.startswith(HUB):
            return Path(self.root)
        user, name, inner = [*self.root.removeprefix(HUB).split("/", 2), "", ""][:3]
        wanted, who = (f"{inner}*",) if inner else None, f"given set '{self.name}'"
        return fetched(f"{user}/{name}", who, wanted, left=("*.safetensors",)) / inner

    def content(self) -> str:
        """A key of the content of its files, whatever they lie in; empty if there are none."""
        if self.root and self.place.is_dir():
            return _digest(self.place, folders_signature(self.place, [self.place]))
        state = self.place.stat() if self.root and self.place.is_file() else None
        return _digest(self.place, f"{state.st_size} {state.st_mtime_ns}") if state else ""

    def check(self, dataset: DatasetConfig) -> None:
        folders = dataset.class_folders()
        self.open(folders, dataset.class_names(folders))

    def open(self, folders: list[str], names: list[str]) -> GivenSet:
        """Its images, with their classes by the dataset's folders and names of classes, both in class order.

        Raises:
            UserError: There is none, it cannot be read, or its classes or values do not fit.
        """
        who = f"given set '{self.name}'"
        if not self.root or not self.place.exists():
            where = f"there is no {self.place}" if self.root else "its place is not told"
            raise UserError(f"{who}: {where}; set selection.root=<folder or .pt> or compare=[{{given: {{root: ...}}}}]")
        if self.place.is_dir():
            return open_folder(self.place, folders, names, who)
        from ddselect.selection.given_tensors import open_tensors  # torch

        statistics = STATISTICS[self.normalisation] if self.normalisation else None
        return open_tensors(self.place, statistics, len(folders), who)


def _pictures(folder: Path) -> list[str]:
    """Paths of the pictures below a folder, relative to it, sorted; the ends of their names make them that."""
    return [path for path in files_below(folder, Counter()) if is_named_as_picture(path)]


@cache
def _digest(root: Path, state: str) -> str:
    """A key of the content of an image folder or a file in some state, read once for it."""
    digest = hashlib.blake2b(digest_size=8)
    for name in _pictures(root) if root.is_dir() else [""]:
        with (root / name).open("rb") as file:
            digest.update(f"{name}\n".encode() + hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def open_folder(root: Path, folders: Sequence[str], names: Sequence[str], who: str) -> GivenSet:
    """The set in a folder of class folders; ``who`` stands before what is wrong with it.

    Raises:
        UserError: There are no class folders, or they are not those of the dataset.
    """
    found = {child.name: _pictures(child) for child in subfolders(root)}
    found = {name: files for name, files in found.items() if files}
    if not found:
        raise wrong_layout(f"{who}: there are no class folders of images in {root}", _LAYOUT, root)
    labels = classes_of(list(found), folders, names, who)
    sources = [f"{name}/{file}" for name in sorted(found, key=labels.__getitem__) for file in found[name]]

    def read(number: int) -> Image.Image:
        return decode_image(Source(root / sources[number]))

    return GivenSet(sources, np.array([labels[source.partition("/")[0]] for source in sources]), read, [])


def classes_of(found: Sequence[str], folders: Sequence[str], names: Sequence[str], who: str) -> dict[str, int]:
    """The class of each class folder: by the dataset's folders, by its class names, or by position.

    Raises:
        UserError: They are not all of the dataset's classes and nothing else.
    """
    for known in (folders, names):
        if set(found) <= set(known):
            if missing := [name for name in known if name not in found]:
                raise UserError(
                    f"{who}: {len(missing)} of the dataset's {len(known)} classes are missing, such as '{missing[0]}'"
                )
            return {name: known.index(name) for name in found}
    numbers = {name: int(match[2]) for name in found if (match := re.fullmatch(r"(\D*)(\d+)", name))}
    if sorted(numbers.values()) == list(range(len(folders))) and len(numbers) == len(found):
        return numbers
    odd = next(name for name in found[::-1] if name not in folders and name not in names)
    raise UserError(
        f"{who}: its {len(found)} class folders, such as '{odd}', are neither the dataset's {len(folders)} "
        f"('{folders[0]}', '{folders[-1]}' ...) nor their positions from 0 to {len(folders) - 1}"
    )
