"""How a dataset lies on disk: its folders, and what to say where they are not as they should be."""

import os
from pathlib import Path

from ddselect.runtime.errors import UserError

_SHOWN = 4  # entries of a folder


def subfolders(folder: Path) -> list[Path]:
    """Folders directly below one, sorted by name, without hidden ones and links that lead back to it or above it."""
    found = [child for child in folder.iterdir() if child.name[0] != "." and child.is_dir()]
    here = folder.resolve()
    return sorted(child for child in found if not (child.is_symlink() and here.is_relative_to(child.resolve())))


def below(root: Path, path: Path) -> str:
    """A path relative to a root, which it may also lie beside."""
    return Path(os.path.relpath(path, root)).as_posix()


def wrong_layout(message: str, layout: str, found: Path) -> UserError:
    """An error of several lines, of which the first is complete by itself; the others are indented.

    Args:
        message: What is wrong, where, and what to do.
        layout: How the files must lie, a line for each kind.
        found: The folder of which the first levels are shown; the nearest one above it if it is not there.
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
