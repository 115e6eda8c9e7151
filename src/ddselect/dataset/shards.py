"""Images in tar shards as WebDataset writes them, read in place.

WebDataset's own reader, and others, stream whole shards in order, which is right for training on them. Here single
images are needed by their id, again and again: a shard of scores, the few originals that patches are cut from. So the
shards are looked through with Python's ``tarfile``, which says at which byte each image begins, and are then read like
any file from there on. That needs no further library, and no unpacking. Shards below a URL are read in the same way,
by requests for a part of them (:mod:`ddselect.dataset.remote`).
"""

import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ddselect.dataset.folders import SourceFile, StoredConfig
from ddselect.dataset.formats import HEAD, begins_as_picture, is_named_as_picture
from ddselect.dataset.layout import is_unicode, kind_of, one_form
from ddselect.dataset.remote import RemotePath, opened
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import NotTextError, decode, file_signature, read_text
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import execution

CLASSES = "classes.txt"
_AT_ONCE = 16  # requests about shards
_REMEDY = "name the class of each image in a .cls file, or write <class>/<name>.jpg"


@dataclass
class TarShardsConfig(StoredConfig):
    """Uncompressed tar files of samples: ``<key>.jpg`` with its class in ``<key>.cls``, or ``<class>/<name>.jpg``.

    A class in a ``.cls`` file is a number or a name. ``classes.txt`` has a name in each line, in the order of the
    numbers; what stands there is that name, though it were a number. Without it a number is a name, and at every start
    the shards are looked through for the names, which are sorted.
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

    @property
    def place(self) -> Path:
        return RemotePath(self.root) if "://" in self.root else super().place

    def class_folders(self) -> list[str]:
        root = self.provide(Path())
        known = _numbered(root) or _sorted({file.folder for file in self._look_through(root, "train", [], Counter())})
        return self._checked(known)

    def files(self, root: Path, left_out: Counter[str]) -> list[SourceFile]:
        known = _numbered(root)
        found = [file for split in ("train", "test") for file in self._look_through(root, split, known, left_out)]
        classes = self._checked(known or _sorted({file.folder for file in found}))
        order = {name: label for label, name in enumerate(classes)}
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
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # of which a URL is one request each
            found = zip(paths, pool.map(_state, paths), strict=True)
            states = [f"{path.relative_to(root)} {size} {time}" for path, (size, time) in found]
        return str(key64(*states, file_signature(root / CLASSES)))

    def _shards(self, root: Path, split: str) -> list[Path]:
        pattern, found = self.train if split == "train" else self.test, list[Path]()
        for name in expanded(pattern):
            some = (
                root.matches(name)
                if isinstance(root, RemotePath)
                else sorted(p for p in root.glob(name) if p.is_file())
            )
            if not some:
                message = f"no {split} shards {name} in {root}; set dataset.{split}=<pattern of names>"
                raise (
                    UserError(f"dataset {self.name}: {message}") if "://" in self.root else self._refusal(message, root)
                )
            found += some
        return found

    def _checked(self, classes: list[str]) -> list[str]:
        if len(classes) < 2:
            raise UserError(
                f"dataset {self.name}: all images of the shards are of one class, {classes}, and two classes are the "
                f"least that can be told apart; {_REMEDY}"
            )
        return classes

    def _look_through(self, root: Path, split: str, known: list[str], left_out: Counter[str]) -> Iterator[SourceFile]:
        """The images of a split, with their classes."""
        shards, names, places = self._shards(root, split), {*known}, dict[PurePosixPath, PurePosixPath]()
        with counting(f"{split} shards", len(shards), "shards") as counter:
            for path in shards:
                place = path.relative_to(root).as_posix()
                for member, name, below in _samples(path, left_out):
                    is_number = name not in names and name.isdecimal() and int(name) < len(known)
                    folder = known[int(name)] if is_number else name
                    if below:
                        places.setdefault(below.parent, below)
                    if not folder or folder[0] == "." or "/" in folder or "\\" in folder:
                        raise UserError(f"{path}/{member.name}: '{folder}' is no name of a class")
                    yield SourceFile(place, split, folder, member.name, member.offset_data, member.size)
                counter.advance()
        if len(places) > 1:
            one, other, *_ = places.values()
            raise UserError(
                f"dataset {self.name}: {one}/ and {other}/ in the {split} shards do not lie side by side, so it is not "
                f"clear which folders are classes; {_REMEDY}"
            )


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with numbers in braces stands for, as WebDataset writes it: ``train-{000..147}.tar``."""
    if not (found := re.search(r"\{(\d+)\.\.(\d+)\}", pattern)):
        return [pattern]
    first, last = found.groups()
    names = (
        f"{pattern[: found.start()]}{n:0{len(first)}d}{pattern[found.end() :]}"
        for n in range(int(first), int(last) + 1)
    )
    return [name for half in names for name in expanded(half)]


def _state(path: Path) -> tuple[int, int]:
    """Bytes and time of change of a shard."""
    return path.state() if isinstance(path, RemotePath) else (path.stat().st_size, path.stat().st_mtime_ns)


def _numbered(root: Path) -> list[str]:
    """The classes in ``classes.txt``, in the order of their numbers; none if there is no such file.

    Raises:
        UserError: A class stands there twice.
    """
    path = root / CLASSES
    lines = read_text(path).splitlines() if path.is_file() else []
    found = [one_form(line.strip()) for line in lines if line.strip()]
    if twice := [name for name, times in Counter(found).items() if times > 1]:
        raise UserError(f"{path}: class '{twice[0]}' stands there twice; each class has one line, that of its number")
    return found


def _sorted(classes: set[str]) -> list[str]:
    """Numbers by their size, then names."""
    return sorted(classes, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _samples(path: Path, left_out: Counter[str]) -> list[tuple[tarfile.TarInfo, str, PurePosixPath | None]]:
    """The images of a shard, the class of each, and the folder that it lies in where that says the class.

    Raises:
        UserError: It is no tar file, is compressed or cut off, or an image has no class.
    """
    images: dict[str, tarfile.TarInfo] = {}
    others: dict[str, list[tarfile.TarInfo]] = defaultdict(list)
    classes: dict[str, str] = {}

    def add(key: str, member: tarfile.TarInfo) -> None:
        if key in images or member.issparse():
            raise UserError(f"{path}: it has more than one image {key.lstrip('/')}, or a sparse one")
        images[key] = member

    try:
        with opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                before, _, name = member.name.rpartition("/")
                key, _, kind = name.partition(".")  # as WebDataset: up to the first dot
                if not (member.isreg() and is_unicode(member.name, str(path), left_out)):
                    continue
                key = key and f"{before}/{key}"
                if not key:
                    left_out["hidden"] += 1
                elif kind.lower() == "cls":
                    content = archive.extractfile(member)
                    classes[key] = decode(content.read()).strip() if content else ""
                elif is_named_as_picture(name):
                    add(key, member)
                else:
                    others[key].append(member)
            assert archive.fileobj
            archive.fileobj.seek(archive.offset)  # tarfile takes whatever is no header for the end
            if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end, as if it was cut off")
            for key, members in others.items():
                for member in members:
                    content = None if key in images else archive.extractfile(member)
                    if content and begins_as_picture(content.read(HEAD), member.name):
                        add(key, member)
                    else:
                        left_out[kind_of(member.name)] += 1
    except NotTextError as error:
        raise UserError(f"{path}/{member.name}: {error}") from None
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path}: it is no whole, uncompressed tar file ({error}); write it again") from None
    if bare := [key for key in images if key not in classes and key.startswith("/")]:
        raise UserError(f"{path}: image {images[bare[0]].name} has no class: neither a .cls file nor a folder")
    return [(member, *_class_of(key, classes.get(key, ""), path.stem)) for key, member in images.items()]


def _class_of(key: str, said: str, shard: str) -> tuple[str, PurePosixPath | None]:
    """The class of a sample, and its folder if it is that of the folder.

    What was packed with a folder of the shard's own name around it lies in that.
    """
    if said:
        return one_form(said), None
    parts = PurePosixPath(key).parent.parts
    place = PurePosixPath(*parts[parts[0] == shard and len(parts) > 1 :])
    return one_form(place.name), place
