"""Images in tar shards as WebDataset writes them, read in place.

WebDataset's own reader, and others, stream whole shards in order, which is right for training on them. Here single
images are needed by their id, again and again: a shard of scores, the few originals that patches are cut from. So the
shards are looked through with Python's ``tarfile``, which says at which byte each image begins, and are then read like
any file from there on. That needs no further library, and no unpacking.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ddselect.dataset.folders import SourceFile, StoredConfig
from ddselect.dataset.layout import EXTENSIONS
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import file_signature
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import execution

CLASSES = "classes.txt"


@dataclass
class TarShardsConfig(StoredConfig):
    """Uncompressed tar files of samples: ``<key>.jpg`` with its class in ``<key>.cls``, or ``<class>/<name>.jpg``.

    A class in a ``.cls`` file is a number or a name. ``classes.txt`` has a name in each line, in the order of the
    numbers. Without it a number is a name, and at every start the shards are looked through for the names, which are
    sorted.
    """

    layout: ClassVar[str] = (
        "{train} and {test} with <key>.jpg and <key>.cls, or <class>/<name>.jpg\n"
        + CLASSES
        + " if wanted: a class a line"
    )
    kept: ClassVar[str] = "shards"
    train: str = "train-*.tar"
    test: str = "val-*.tar"
    hint: str = execution("give the folder of the shards with dataset.root=<folder>")

    def class_folders(self) -> list[str]:
        root = self.provide(Path())
        if known := _numbered(root):
            return known
        return _sorted({file.folder for file in self._look_through(root, "train", [])})

    def files(self, root: Path) -> list[SourceFile]:
        known = _numbered(root)
        found = [file for split in ("train", "test") for file in self._look_through(root, split, known)]
        order = {name: label for label, name in enumerate(known or _sorted({file.folder for file in found}))}
        odd = sorted({file.folder for file in found} - set(order))
        if odd:
            raise UserError(f"dataset {self.name}: class '{odd[0]}' of the shards is not in {root / CLASSES}")
        for split in ("train", "test"):
            missing = set(order) - {file.folder for file in found if file.split == split}
            if missing:
                raise UserError(f"dataset {self.name}: class '{min(missing)}' has no {split} images in {root}")
        return sorted(found, key=lambda file: (file.split != "train", order[file.folder], file.path, file.offset))

    def signature(self) -> str:
        root = self.provide(Path())
        paths = [path for split in ("train", "test") for path in self._shards(root, split)]
        states = [f"{path.relative_to(root)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
        return str(key64(*states, file_signature(root / CLASSES)))

    def _shards(self, root: Path, split: str) -> list[Path]:
        pattern = self.train if split == "train" else self.test
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if not found:
            raise self._refusal(f"no {split} shards {pattern} in {root}; set dataset.{split}=<pattern of names>", root)
        return found

    def _look_through(self, root: Path, split: str, known: list[str]) -> Iterator[SourceFile]:
        """The images of a split, with their classes."""
        shards = self._shards(root, split)
        with counting(f"{split} shards", len(shards), "shards") as counter:
            for path in shards:
                place = path.relative_to(root).as_posix()
                for member, name in _samples(path):
                    folder = known[int(name)] if name.isdecimal() and int(name) < len(known) else name
                    if not folder or folder[0] == "." or "/" in folder or "\\" in folder:
                        raise UserError(f"{path}/{member.name}: '{folder}' is no name of a class")
                    yield SourceFile(place, split, folder, member.name, member.offset_data, member.size)
                counter.advance()


def _numbered(root: Path) -> list[str]:
    """The classes in ``classes.txt``, in the order of their numbers; none if there is no such file."""
    path = root / CLASSES
    return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()] if path.is_file() else []


def _sorted(classes: set[str]) -> list[str]:
    """Numbers by their size, then names."""
    return sorted(classes, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _samples(path: Path) -> list[tuple[tarfile.TarInfo, str]]:
    """The images of a shard, and what is said about the class of each.

    Raises:
        UserError: It is no tar file, is compressed or cut off, or an image has no class.
    """
    images: dict[str, tarfile.TarInfo] = {}
    classes: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                before, _, name = member.name.rpartition("/")
                key, _, kind = name.partition(".")  # as WebDataset: up to the first dot
                if not member.isreg() or not key:
                    continue
                key = f"{before}/{key}"
                if kind.lower() == "cls":
                    content = archive.extractfile(member)
                    classes[key] = content.read().decode().strip() if content else ""
                elif f".{kind.lower()}".endswith(EXTENSIONS):
                    if key in images or member.issparse():
                        raise UserError(f"{path}: it has more than one image {key.lstrip('/')}, or a sparse one")
                    images[key] = member
            assert archive.fileobj
            archive.fileobj.seek(archive.offset)  # tarfile takes whatever is no header for the end
            if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end, as if it was cut off")
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: it is no whole, uncompressed tar file ({error}); write it again") from None
    if bare := [key for key in images if key not in classes and key.startswith("/")]:
        raise UserError(f"{path}: image {images[bare[0]].name} has no class: neither a .cls file nor a folder")
    return [(member, classes.get(key) or PurePosixPath(key).parent.name) for key, member in images.items()]
