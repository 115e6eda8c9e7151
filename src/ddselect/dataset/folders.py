"""Datasets as they lie on disk: class folders of images, one image folder for each split."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ddselect.dataset.class_files import SUFFIXES
from ddselect.dataset.classes import KINDS, class_list, class_lists, class_names
from ddselect.dataset.formats import is_named_as_picture, suffix_of
from ddselect.dataset.layout import (
    below,
    count_beside,
    files_below,
    folders_signature,
    kind_of,
    one_form,
    subfolders,
    wrong_layout,
)
from ddselect.dataset.unclear import is_unclear, nested, only_class
from ddselect.runtime.errors import UserError, at_most, shares
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import execution

ANY = "any"  # a number of classes that a published dataset does not have


@dataclass(frozen=True, slots=True)  # there may be a million
class SourceFile:
    """What may be an image of a dataset: a file, or a part of an archive that is read in place."""

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
        return Path(getattr(self, "root", "")).absolute()

    def provide(self, folder: Path) -> Path:
        """Makes sure that the images are there and returns their root; ``folder`` is free for generated ones."""
        raise UserError(f"dataset {self.name}: class {type(self).__name__} provides no images")

    def class_folders(self) -> list[str]:
        """Names of the class folders, in class order; nothing else is looked at.

        Raises:
            UserError: The images are not there.
        """
        raise UserError(f"dataset {self.name}: class {type(self).__name__} lists no classes")

    def files(self, root: Path, left_out: Counter[str]) -> list[SourceFile]:
        """All files that may be images, sorted by split, class and name: what each holds decides when it is read.

        Args:
            root: As :meth:`provide` returns it.
            left_out: Is told how many files of which kind are none of them.

        Raises:
            UserError: A folder is missing, a class is empty, the splits have different classes, or it is not clear
                what the classes are.
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
        "{train}/<class>/*.jpg and {test}/<class>/*.jpg (any image format)\nor, with dataset.holdout=0.2, <class>/*.jpg"
    )
    class_count: ClassVar[int] = 0  # of a published dataset; 0 for others
    holdout: float = 0.0
    classes: str = ""
    nested: str = "ask"

    def __post_init__(self) -> None:
        super().__post_init__()
        shares("dataset", self, "holdout", below_one=True)
        known = [*class_lists(), *([ANY] if self.class_count else [])]
        if self.classes and self.classes not in known:
            raise UserError(f"dataset.classes={self.classes}: choose {' or '.join(known)}, or leave it empty")
        if self.nested not in ("ask", "use", "skip"):
            raise UserError(f"dataset.nested={self.nested}: choose ask, use or skip")

    def class_folders(self) -> list[str]:
        return list(self._class_folders(self.provide(Path()), "train"))

    def files(self, root: Path, left_out: Counter[str]) -> list[SourceFile]:
        train = self._images(root, "train", left_out)
        found = {"train": train, "test": train if self.holdout else self._images(root, "test", left_out)}
        odd = sorted(set(found["train"]) ^ set(found["test"]))
        if odd:
            raise UserError(
                f"dataset {self.name}: class folder '{odd[0]}' is in one split only ({len(odd)} such classes)"
            )
        left_out[f"class folders that are not of {self.classes}"] += len(self._by_name(root, "train")) - len(train)
        files = []
        for split, images in found.items():
            for name in found["train"]:  # the same order in each
                paths = all_paths = images[name]
                if self.holdout:
                    paths = [p for p in paths if (key64(p) / 2**63 < self.holdout) == (split == "test")]
                if all_paths and not paths:
                    raise UserError(
                        f"dataset.holdout={self.holdout}: none of the {len(all_paths)} images of class '{name}' falls "
                        f"to the {split} split; add images to it, or change the share"
                    )
                if not paths:
                    raise UserError(f"dataset {self.name}: class '{name}' has no {split} images in {root}")
                files += [SourceFile(path, split, name) for path in paths]
        return files

    def counts(self) -> dict[str, int]:
        files = self.files(self.provide(Path()), Counter())
        return dict(Counter(file.split for file in files if is_named_as_picture(file.path) or not suffix_of(file.path)))

    def signature(self) -> str:
        root = self.provide(Path())
        places = dict.fromkeys(place for split in ("train", "test") for place in self._places(root, split))
        return folders_signature(root, places)

    def _subfolder(self, split: str) -> str:
        return self.train if split == "train" else self.test

    def _parts(self, root: Path, split: str) -> list[Path]:
        """The folders that hold the class folders of a split.

        Raises:
            UserError: There is none.
        """
        folder = root if self.holdout else root / self._subfolder(split)
        if not folder.is_dir():
            inner = [child for child in subfolders(root) if (child / self._subfolder(split)).is_dir()]
            whole = f"set dataset.root={inner[0]} if that is it, " if inner else ""
            raise self._refusal(
                f"folder {folder} ({split} images) is missing; {whole}make it, name another with "
                f"dataset.{split}=<subfolder>, or split class folders lying in {root} with dataset.holdout=0.2",
                root,
            )
        return [folder]

    def _by_name(self, root: Path, split: str) -> dict[str, list[Path]]:
        """All class folders of a split, sorted; those that are called the same are one class."""
        found: dict[str, list[Path]] = {}
        for folder in sorted(folder for part in self._parts(root, split) for folder in subfolders(part)):
            found.setdefault(one_form(folder.name), []).append(folder)
        return dict(sorted(found.items()))

    def _class_folders(self, root: Path, split: str) -> dict[str, list[Path]]:
        """The class folders of a split, in class order.

        Raises:
            UserError: There are none, or others than there should be.
        """
        by_name, place = self._by_name(root, split), self._parts(root, split)[0]
        if not by_name:
            raise self._refusal(f"{place} has no class folders; put <class>/<image> below it", root)
        if self.holdout and {self.train, self.test} <= by_name.keys():
            raise UserError(
                f"dataset {self.name}: {place} has {self.train}/ and {self.test}/; if these hold the classes of each "
                "split, set dataset.holdout=0, and if they are classes, rename them"
            )
        if not self.classes and self.class_count not in (0, len(by_name)):
            raise UserError(
                f"dataset {self.name}: {place} has {len(by_name)} class folders, and the dataset {self.class_count}; "
                f"add or move away what makes the difference, or take those that are there with dataset.classes={ANY}"
            )
        wanted = class_list(self.classes) if self.classes not in ("", ANY) else list(by_name)
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise self._refusal(
                f"class folder '{missing[0]}' is not among the {split} images in {place} ({len(missing)} of the "
                f"{len(wanted)} classes are missing)",
                root,
            )
        if len(wanted) < 2:
            folder = by_name[wanted[0]][0]
            inner = f"dataset.{split}={self._subfolder(split)}/{folder.name}"
            setting = f"dataset.root={folder}" if self.holdout else inner
            raise UserError(f"dataset {self.name}: {only_class(folder, setting, (self.train, self.test))}")
        return {name: by_name[name] for name in wanted}

    def _images(self, root: Path, split: str, left_out: Counter[str]) -> dict[str, list[str]]:
        """Paths of the files of every class of a split, relative to the root."""
        for part in self._parts(root, split):
            count_beside(part, left_out)
        found: dict[str, list[str]] = {}
        for name, folders in self._class_folders(root, split).items():
            found[name] = []
            for folder in folders:
                paths = files_below(folder, left_out)
                deeper = [path for path in paths if "/" in path]
                if self.nested != "use" and deeper:
                    paths = [path for path in paths if "/" not in path]
                    if self.nested == "ask" and is_unclear(paths, deeper):
                        raise UserError(f"dataset {self.name}: {nested(folder, len(paths), deeper)}")
                    left_out.update(f"{kind_of(path)} in folders below" for path in deeper)
                place = below(root, folder)
                found[name] += [f"{place}/{path}" for path in paths]
        return found

    def _places(self, root: Path, split: str) -> list[Path]:
        """The folders below which the images of a split lie."""
        return [folder for folders in self._class_folders(root, split).values() for folder in folders]


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

    def files(self, root: Path, left_out: Counter[str]) -> list[SourceFile]:
        files = []
        for split in ("train", "val", "test"):
            for path in sorted((root / split).glob("*/*.png")):
                files.append(SourceFile(path.relative_to(root).as_posix(), split, path.parent.name))
        return files
