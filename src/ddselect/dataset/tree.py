"""Looking through folders of images: which files there are, and a key that changes when one of them does."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ddselect.runtime.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")


def image_files(folder: Path) -> list[str]:
    """Paths of the image files below a folder, relative to it, sorted; the ends of their names make them that.

    Raises:
        UserError: A name is not Unicode.
    """
    return sorted(path for path, _ in _walk(folder))


def folders_signature(folders: Iterable[Path]) -> str:
    """A key of the paths, sizes and times of change of all image files below some folders; no file is opened.

    Raises:
        UserError: A name is not Unicode.
    """
    digest = hashlib.blake2b(digest_size=8)
    for folder in folders:
        found = sorted((path, _state(entry)) for path, entry in _walk(folder))
        digest.update("".join([f"{folder}\n", *(f"{path}\n{state}\n" for path, state in found)]).encode())
    return digest.hexdigest()


def _state(entry: "os.DirEntry[str]") -> str:
    try:
        state = entry.stat()
    except OSError:  # a link to nothing
        return "missing"
    return f"{state.st_size} {state.st_mtime_ns}"


def _walk(folder: Path) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Relative paths and entries of the image files below a folder; hidden files and folders are none of them.

    Links are followed, but not to a folder that one is already in, which would never end. A link to nothing counts as a
    file: that it cannot be read will be said.
    """
    waiting = [(str(folder), "", frozenset({_identity(folder.stat())}))]
    while waiting:
        place, before, above = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):  # as macOS leaves beside every file on some disks: ._cat.jpg
                    continue
                if _is_folder(entry):
                    identity = _identity(entry.stat())
                    if identity not in above:
                        waiting.append((entry.path, f"{before}{name}/", above | {identity}))
                elif name.lower().endswith(EXTENSIONS) and (entry.is_symlink() or entry.is_file()):
                    yield _checked(before + name, place), entry


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _checked(path: str, place: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{place}: the file name {os.fsencode(path)!r} is not Unicode (UTF-8); rename it") from None
    return path
