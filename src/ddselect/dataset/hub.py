"""Datasets of the Hugging Face hub, or local copies of them: parquet files with columns of images and of classes.

Parquet is compressed in blocks of many rows, and single images are needed by their id, again and again. So the images
are written once, as they are, to uncompressed tars in the store, which are read in place like any others.
"""

import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

from ddselect.dataset.parquet import Table, pack, row_count
from ddselect.dataset.shards import CLASSES, TarShardsConfig
from ddselect.runtime.errors import UserError, shares
from ddselect.runtime.files import write_text
from ddselect.runtime.hub import fetched
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import execution

_IMAGES = "images"
_CONVERTED = "refs/convert/parquet"  # where the hub keeps what it made of datasets in other forms


@dataclass
class HubConfig(TarShardsConfig):
    """Parquet files whose names say their split, ``data/train-00000.parquet``; see ``conf/dataset/hub.yaml``."""

    layout: ClassVar[str] = (
        "parquet files with {train} and {test} in their names or folders, data/{train}-00000-of-00001.parquet\n"
        "README.md if they do not name the classes themselves"
    )
    kept: ClassVar[str] = "parquet files"
    id: str = execution("")
    classes: str = ""
    holdout: float = 0.0
    train: str = "train"
    test: str = "test"
    hint: str = execution(
        "name a dataset of the hub with dataset.id=<user>/<name>, or a copy with dataset.root=<folder>"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        shares("dataset", self, "holdout", below_one=True)

    def provide(self, folder: Path) -> Path:
        root, home = (folder / _IMAGES).absolute(), self._home()
        table = self._table("train")
        write_text(root / CLASSES, "".join(f"{name}\n" for name in table.names.values()))
        parts = [(split, *part) for split in self._splits() for part in enumerate(self._files(home, split))]
        with counting("unpacking", len(parts), "files") as counter:
            for split, number, path in parts:
                into = ("train", "test") if self.holdout else (split,)
                tars = {name: root / f"{name}-{number:05d}.tar" for name in into}
                if not all(tar.exists() for tar in tars.values()):  # an interrupted attempt may have written it
                    pack(self._table(split).rows(path), tars, partial(self._split_of, split, path))
                counter.advance()
        return root

    def class_folders(self) -> list[str]:
        return self._checked(list(self._table("train").names.values()))

    def counts(self) -> dict[str, int]:
        home = self._home()
        splits = () if self.holdout else self._splits()
        return {split: sum(map(row_count, self._files(home, split))) for split in splits}

    def signature(self) -> str:
        home = self._home()
        states = [(path.relative_to(home), path.stat()) for s in self._splits() for path in self._files(home, s)]
        return str(key64(*(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)))

    def _splits(self) -> tuple[str, ...]:
        return ("train",) if self.holdout else ("train", "test")

    def _split_of(self, split: str, path: Path, row: int) -> str:
        if not self.holdout:
            return split
        return "test" if key64(f"{path.name} {row}") / 2**63 < self.holdout else "train"

    def _shards(self, root: Path, split: str) -> list[Path]:
        return sorted(root.glob(f"{split}-*.tar"))

    def _home(self) -> Path:
        """Where the parquet files are: the folder that is given, or what is fetched of the hub."""
        if self.root or not self.id:
            return super().provide(Path())
        who = f"dataset {self.name}"
        wanted = ("README.md", *(f"*{self._called(split)}*.parquet" for split in self._splits()))
        home = fetched(self.id, who, wanted)
        if "@" not in self.id and not any(home.rglob("*.parquet")):
            home = fetched(f"{self.id}@{_CONVERTED}", who, wanted)
        return home

    def _called(self, split: str) -> str:
        return self.train if split == "train" else self.test

    def _files(self, home: Path, split: str) -> list[Path]:
        """The parquet files of a split.

        Raises:
            UserError: There are none, or of several subsets.
        """
        name = self._called(split)
        word = re.compile(rf"(?<![a-zA-Z]){re.escape(name)}(?![a-zA-Z_])")
        places = [(path, path.relative_to(home).as_posix()) for path in sorted(home.rglob("*.parquet"))]
        found = [path for path, place in places if word.search(place) and place[0] != "."]
        remedy = f"choose with dataset.{split}=<a part of its path>"
        if not found:
            where = f"{self.id} of the hub" if self.id and not self.root else str(home)
            raise self._refusal(f"no parquet files of '{name}' in {where}; {remedy}, or set dataset.holdout=0.2", home)
        folders = sorted({path.parent.relative_to(home).as_posix() for path in found})
        if len(folders) > 1:
            raise UserError(
                f"dataset {self.name}: '{name}' is found in {', '.join(folders)}; {remedy}, {folders[0]}/{name}"
            )
        return found

    def _table(self, split: str) -> Table:
        home = self._home()
        return _table(f"dataset {self.name}", home, tuple(self._files(home, split)), self.classes)


@cache  # classes that are not told are looked for in all rows
def _table(who: str, home: Path, paths: tuple[Path, ...], label: str) -> Table:
    return Table(who, home, list(paths), label)
