"""A folder that is either whole or absent: filled beside its place, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddselect.composition.card import README, TAG
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import MANIFEST


@contextmanager
def whole_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Gives an empty folder beside ``folder``; on success it takes that one's place, on failure it is removed.

    Args:
        folder: A folder that does not exist, or is empty, or with ``overwrite`` holds an earlier export.
        overwrite: Whether an earlier export goes.

    Raises:
        UserError: The place is taken.
    """
    folder = folder.expanduser().absolute()
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    if old.exists() and not folder.exists():  # left by a kill between the two renames below
        old.rename(folder)
    taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if taken and not _is_export(folder):
        raise UserError(f"{folder} exists and is no earlier export; choose another folder with --to")
    if taken and not overwrite:
        raise UserError(f"{folder} holds an earlier export; add --overwrite to replace it, or choose another folder")
    shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted export
    try:
        partial.mkdir(parents=True)
        yield partial
        os.sync()
        if taken:
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _is_export(folder: Path) -> bool:
    """Whether a folder was made by an export: its card says so, and it is no part of a store."""
    card = folder / README
    if (folder.parent / MANIFEST).exists():
        return False
    return card.is_file() and f"\n- {TAG}\n" in card.read_text(errors="replace").partition("\n---\n")[0] + "\n"
