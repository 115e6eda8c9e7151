"""What lies in a folder: subfolders and image files, in a fixed order, links followed but never in circles."""

import os
from collections.abc import Iterator
from pathlib import Path

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
_SHOWN = 4  # entries of a folder in a tree


def subfolders(folder: Path) -> list[Path]:
    """Folders directly below one, sorted by name, without hidden ones and links that lead back to it or above it."""
    with os.scandir(folder) as entries:
        found = [folder / e.name for e in entries if e.name[0] != "." and _is_folder(e)]
    here = folder.resolve()
    return sorted(p for p in found if not (p.is_symlink() and here.is_relative_to(p.resolve())))


def image_files(folder: Path) -> list[str]:
    """Paths, relative to a folder, of the image files at any depth below it, sorted.

    A link to a file that is not there is listed too: who reads it will say so.
    """
    return sorted(prefix + name for prefix, names in _walk(folder) for name in names)


def folders_below(folder: Path) -> list[Path]:
    """A folder and all folders below it in which :func:`image_files` looks."""
    return sorted(folder / prefix for prefix, _ in _walk(folder))


def below(root: Path, path: Path) -> str:
    """A path relative to a root, which it may also lie beside."""
    return Path(os.path.relpath(path, root)).as_posix()


def tree(folder: Path, depth: int = 2) -> list[str]:
    """The first levels of a folder in a few lines: the first entries of each level, and how many more there are."""
    with os.scandir(folder) as entries:
        found = sorted((not _is_folder(e), e.name) for e in entries)
    lines = []
    for is_file, name in found[:_SHOWN]:
        lines.append(name if is_file else f"{name}/")
        if not is_file and depth > 1 and os.access(folder / name, os.R_OK | os.X_OK):
            lines += [f"  {line}" for line in tree(folder / name, depth - 1)]
    if len(found) > _SHOWN:
        lines.append(f"... and {len(found) - _SHOWN} more")
    return lines or ["(nothing)"]


def _walk(folder: Path, prefix: str = "", above: tuple[Path, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """The way to every folder below one, and the names of its images.

    A link to a folder is followed unless that holds a folder on the way to the link.
    """
    inner, names = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                inner.append((entry.name, entry.is_symlink()))
            elif entry.name.lower().endswith(EXTENSIONS):
                names.append(entry.name)
    yield prefix, names
    way = (*above, folder.resolve())
    for name, is_link in inner:
        path = folder / name
        if not (is_link and any(place.is_relative_to(path.resolve()) for place in way)):
            yield from _walk(path, f"{prefix}{name}/", way)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
