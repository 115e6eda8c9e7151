"""How a dataset lies on disk: its folders and images, their state, and what to say where it is not as it should be."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ddselect.dataset.formats import is_named_as_picture, suffix_of
from ddselect.runtime.errors import UserError, check_unicode

_SHOWN = 4  # entries of a folder
_MACOS = "__MACOSX"


def subfolders(folder: Path) -> list[Path]:
    """Folders directly below one, sorted by name, without hidden ones and links that lead back to it or above it.

    Raises:
        UserError: One is no folder of the user's, or its name is not Unicode.
    """
    found = [child for child in folder.iterdir() if child.name[0] != "." and child.is_dir()]
    for child in found:
        check_unicode(child.name, f"{folder}: the folder name")
    if folder / _MACOS in found:
        raise UserError(f"{folder / _MACOS}: macOS adds it to zip archives, and it holds no images; remove it")
    here = folder.resolve()
    return sorted(child for child in found if not (child.is_symlink() and here.is_relative_to(child.resolve())))


def one_form(name: str) -> str:
    """A name in the one form that all names which look like it have: disks and programs write é as one sign or two."""
    return unicodedata.normalize("NFC", name)


def kind_of(name: str) -> str:
    """What to call a file that is left out: by its suffix, if it has one."""
    return suffix_of(name) or "without suffix"


def below(root: Path, path: Path) -> str:
    """A path relative to a root, which it may also lie beside."""
    return Path(os.path.relpath(path, root)).as_posix()


def wrong_layout(message: str, layout: str, found: Path) -> UserError:
    """An error of several lines, of which the first is complete by itself; the others are indented.

    The layout says how the files must lie, a line for each kind. Of ``found``, or the nearest folder above it if that
    is not there, the first levels are shown.
    """
    depth = 2
    while not _is_open(found) and found != found.parent:
        found, depth = found.parent, 1
    shown = _first_levels(found, depth) if _is_open(found) else []
    wanted, there = ([f"    {line}" for line in lines] for lines in (layout.splitlines(), shown))
    return UserError("\n".join([message, "  wanted:", *wanted, f"  found in {found}:", *there]))


def _first_levels(folder: Path, depth: int) -> list[str]:
    """A folder in a few lines: its first entries, folders before files, and how many more there are."""
    found = sorted((not child.is_dir(), child.name) for child in folder.iterdir())
    lines = []
    for is_file, name in found[:_SHOWN]:
        lines.append(name if is_file else f"{name}/")
        if not is_file and depth > 1 and _is_open(folder / name):
            lines += [f"  {line}" for line in _first_levels(folder / name, depth - 1)]
    if len(found) > _SHOWN:
        lines.append(f"... and {len(found) - _SHOWN} more")
    return lines or ["(nothing)"]


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)


def files_below(folder: Path, left_out: Counter[str]) -> list[str]:
    """Paths of the files below a folder, relative to it, sorted; hidden ones are counted as left out.

    Raises:
        UserError: The name of an image is not Unicode.
    """
    return sorted(path for path, _ in _walk(folder, left_out))


def count_beside(folder: Path, left_out: Counter[str]) -> None:
    """Counts the files that lie beside the class folders in a folder."""
    with os.scandir(folder) as entries:
        left_out.update(f"{kind_of(entry.name)} beside class folders" for entry in entries if not _is_folder(entry))


def remarks(root: Path, files: Iterable[str]) -> list[str]:
    """What to know of the folders that some files lie in: hidden ones beside them, and links that lead elsewhere.

    Paths are relative to the root, which is not named: so a remark is true wherever that lies.
    """
    folders = {Path(path).parent for path in files}
    above = {folder.parent for folder in folders if folder != folder.parent}
    beside = [folder / child.name for folder in above for child in (root / folder).iterdir() if child.name[0] == "."]
    hidden = [folder for folder in beside if (root / folder).is_dir() and _has_images(root / folder)]
    linked = [folder for folder in folders | above if (root / folder).is_symlink() and not _is_inside(root, folder)]
    texts = {
        "left out, images and all, as the name begins with a dot": hidden,
        "a link that leads out of dataset.root; its images are used": linked,
    }
    return [f"{min(found)}{_more(found)}: {text}" for text, found in texts.items() if found]


def _has_images(folder: Path) -> bool:
    return any(is_named_as_picture(path) for path, _ in _walk(folder, Counter()))


def _is_inside(root: Path, folder: Path) -> bool:
    return (root / folder).resolve().is_relative_to(root.resolve())


def _more(found: list[Path]) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


def folders_signature(root: Path, folders: Iterable[Path]) -> str:
    """A key of the paths from a root, sizes and times of change of all files below some folders.

    No file is opened, and where the root lies does not matter.

    Raises:
        UserError: The name of an image is not Unicode.
    """
    digest = hashlib.blake2b(digest_size=8)
    for folder in folders:
        found = sorted((path, _state(entry)) for path, entry in _walk(folder, Counter()))
        digest.update("".join([f"{below(root, folder)}\n", *(f"{path}\n{state}\n" for path, state in found)]).encode())
    return digest.hexdigest()


def _state(entry: "os.DirEntry[str]") -> str:
    try:
        state = entry.stat()
    except OSError:  # a link to nothing
        return "missing"
    return f"{state.st_size} {state.st_mtime_ns}"


def _walk(folder: Path, left_out: Counter[str]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Relative paths and entries of the files below a folder; hidden ones are counted, hidden folders not entered.

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
                    left_out["hidden"] += not _is_folder(entry)
                elif _is_folder(entry):
                    identity = _identity(entry.stat())
                    if identity not in above:
                        waiting.append((entry.path, f"{before}{name}/", above | {identity}))
                elif (entry.is_symlink() or entry.is_file()) and is_unicode(before + name, place, left_out):
                    yield before + name, entry


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def is_unicode(path: str, place: str, left_out: Counter[str]) -> bool:
    """Whether a file's name can be written down; one that cannot is counted.

    Raises:
        UserError: It cannot, and the file is a picture by its name.
    """
    try:
        check_unicode(path, f"{place}: the file name")
    except UserError:
        if is_named_as_picture(path):
            raise
        left_out["of a name that is not Unicode"] += 1
        return False
    return True
