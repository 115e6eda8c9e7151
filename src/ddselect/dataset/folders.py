"""Datasets as they lie on disk: class folders of images, one image folder for each split."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ddselect.dataset.class_files import SUFFIXES
from ddselect.dataset.classes import KINDS, class_list, class_lists, class_names
from ddselect.dataset.layout import below, folders_signature, image_files, subfolders, wrong_layout
from ddselect.runtime.errors import UserError, at_most, shares
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import execution


@dataclass(frozen=True, slots=True)  # there may be a million
class SourceFile:
    """An image of a dataset: a file, or a part of an archive that is read in place."""

    path: str  # of the file or archive, relative to the dataset's root
    split: str  # ``train``, ``val`` or ``test``
    folder: str  # name of the class folder
    member: str = ""  # name in the archive; empty for a file
    offset: int = -1  # where in the archive its bytes begin; -1 for a file
    bytes: int = -1  # how many bytes it has there; -1 for a file

    @property
    def id(self) -> str:
        """Id of the image: the path of its file, or that of its archive and its name there."""
        return f"{self.path}/{self.member}" if self.member else self.path


@dataclass
class DatasetConfig:
    """What every dataset has; see ``conf/dataset/`` for each field."""

    name: str
    image_size: int
    names: str = execution("folder")  # what decides is the file, wherever it lies
    broken: str = "error"
    broken_ceiling: float = execution(0.01)
    license: str = execution("unknown")
    terms: str = execution("")

    def __post_init__(self) -> None:
        if self.image_size < 8:
            raise UserError(f"dataset.image_size={self.image_size}: at least 8 pixels are needed")
        at_most(4096, "dataset", self, "image_size")
        if self.names not in KINDS and not self.names.lower().endswith(SUFFIXES):
            files = ", ".join(SUFFIXES)
            raise UserError(f"dataset.names={self.names}: choose {' or '.join(KINDS)}, or name a file ({files})")
        if self.broken not in ("error", "skip"):
            raise UserError(f"dataset.broken={self.broken}: choose error or skip")
        shares("dataset", self, "broken_ceiling")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise UserError(
                f"dataset.license={self.license}: give the hub's identifier, e.g. cc-by-4.0, other, unknown"
            )

    @property
    def place(self) -> Path:
        """Where the images lie that its index refers to; of no account where the store holds them."""
        return Path(getattr(self, "root", "")).expanduser().absolute()

    def provide(self, folder: Path) -> Path:
        """Makes sure that the images are there and returns their root; ``folder`` is free for generated ones."""
        raise UserError(f"dataset {self.name}: class {type(self).__name__} provides no images")

    def class_folders(self) -> list[str]:
        """Names of the class folders, in class order; nothing else is looked at.

        Raises:
            UserError: The images are not there.
        """
        raise UserError(f"dataset {self.name}: class {type(self).__name__} lists no classes")

    def files(self, root: Path) -> list[SourceFile]:
        """All image files, sorted by split, class and name.

        Raises:
            UserError: A folder is missing, a class is empty, or the splits have different classes.
        """
        raise UserError(f"dataset {self.name}: class {type(self).__name__} lists no files")

    def signature(self) -> str:
        """Changes when files are added, removed, renamed or changed, so that a stale index is not reused."""
        return ""

    def class_names(self, folders: list[str]) -> list[str]:
        """Class names, in the order of the class folders."""
        return class_names(folders, self.names)

    def counts(self) -> dict[str, int]:
        """Images of each split as far as that can be told without opening or writing a file; empty if it cannot."""
        return {}


@dataclass
class StoredConfig(DatasetConfig):
    """A dataset in a folder of the user's."""

    layout: ClassVar[str] = ""  # how its files must lie, a line for each kind
    kept: ClassVar[str] = "images"
    root: str = execution("")
    train: str = "train"
    test: str = "val"
    hint: str = execution("give its place with dataset.root=<folder>")

    def provide(self, folder: Path) -> Path:
        root = self.place
        if not self.root or not root.is_dir():
            given = self.root or "(no folder given)"
            raise self._refusal(f"no {self.kept} found in '{given}'; {self.hint}", root)
        return root

    def _refusal(self, message: str, found: Path) -> UserError:
        layout = self.layout.format(train=self.train, test=self.test)
        return wrong_layout(f"dataset {self.name}: {message}", layout, found)


@dataclass
class ImageFolderConfig(StoredConfig):
    """Class folders of images of any size, ``<root>/<train>/<class>/*.jpg`` and ``<root>/<test>/<class>/*.jpg``."""

    layout: ClassVar[str] = (
        "{train}/<class>/*.jpg and {test}/<class>/*.jpg (any image format, also in folders below)\n"
        "or, with dataset.holdout=0.2, <class>/*.jpg"
    )
    holdout: float = 0.0
    classes: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        shares("dataset", self, "holdout", below_one=True)
        if self.classes and self.classes not in class_lists():
            raise UserError(f"dataset.classes={self.classes}: choose {' or '.join(class_lists())}, or leave it empty")

    def class_folders(self) -> list[str]:
        return list(self._class_folders(self.provide(Path()), "train"))

    def files(self, root: Path) -> list[SourceFile]:
        found = {split: self._images(root, split) for split in ("train", "test")}
        odd = sorted(set(found["train"]) ^ set(found["test"]))
        if odd:
            raise UserError(
                f"dataset {self.name}: class folder '{odd[0]}' is in one split only ({len(odd)} such classes)"
            )
        files = []
        for split, images in found.items():
            for name in found["train"]:  # the same order in each
                paths = images[name]
                if self.holdout:
                    paths = [p for p in paths if (key64(p) / 2**63 < self.holdout) == (split == "test")]
                if not paths:
                    raise UserError(f"dataset {self.name}: class '{name}' has no {split} images in {root}")
                files += [SourceFile(path, split, name) for path in paths]
        return files

    def counts(self) -> dict[str, int]:
        return dict(Counter(file.split for file in self.files(self.provide(Path()))))

    def signature(self) -> str:
        root = self.provide(Path())
        places = dict.fromkeys(place for split in ("train", "test") for place in self._places(root, split))
        return folders_signature(root, places)

    def _parts(self, root: Path, split: str) -> list[Path]:
        """The folders that hold the class folders of a split.

        Raises:
            UserError: There is none.
        """
        folder = root if self.holdout else root / (self.train if split == "train" else self.test)
        if not folder.is_dir():
            raise self._refusal(
                f"folder {folder} ({split} images) is missing; make it, name another with "
                f"dataset.{split}=<subfolder>, or split class folders lying in {root} with dataset.holdout=0.2",
                root,
            )
        return [folder]

    def _class_folders(self, root: Path, split: str) -> dict[str, Path]:
        """The class folders of a split, in class order."""
        parts = self._parts(root, split)
        found = sorted((folder for part in parts for folder in subfolders(part)), key=lambda folder: folder.name)
        if not found:
            raise self._refusal(f"{parts[0]} has no class folders; put <class>/<image> below it", root)
        by_name = {folder.name: folder for folder in found}
        wanted = class_list(self.classes) if self.classes else list(by_name)
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise self._refusal(
                f"class folder '{missing[0]}' is not among the {split} images in {parts[0]} ({len(missing)} of the "
                f"{len(wanted)} classes are missing)",
                root,
            )
        return {name: by_name[name] for name in wanted}

    def _images(self, root: Path, split: str) -> dict[str, list[str]]:
        """Paths of the images of every class of a split, relative to the root."""
        folders = self._class_folders(root, split)
        return {name: [below(root, folder / path) for path in image_files(folder)] for name, folder in folders.items()}

    def _places(self, root: Path, split: str) -> list[Path]:
        """The folders below which the images of a split lie."""
        return list(self._class_folders(root, split).values())


@dataclass
class ClutteredDigitsConfig(DatasetConfig):
    """The embedded dataset: scenes drawn from scikit-learn's digits when they are needed, with a true box each.

    See :mod:`ddselect.dataset.scenes`.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size != 32:
            raise UserError(f"dataset.image_size={self.image_size}: {self.name} has 32-pixel scenes")
        if set(self.sizes) != {"train", "val", "test"} or min(self.sizes.values()) < 10:
            raise UserError(f"dataset.sizes={self.sizes}: train, val and test are needed, each at least 10 scenes")

    def class_folders(self) -> list[str]:
        from ddselect.dataset.scenes import CLASS_NAMES

        return list(CLASS_NAMES)

    def provide(self, folder: Path) -> Path:
        from ddselect.dataset.scenes import render, write_scenes

        root = (folder / "images").absolute()
        write_scenes(root, self.class_folders(), self.sizes, self.seed, render)
        return root

    def counts(self) -> dict[str, int]:
        return dict(self.sizes)

    def files(self, root: Path) -> list[SourceFile]:
        files = []
        for split in ("train", "val", "test"):
            for path in sorted((root / split).glob("*/*.png")):
                files.append(SourceFile(path.relative_to(root).as_posix(), split, path.parent.name))
        return files
