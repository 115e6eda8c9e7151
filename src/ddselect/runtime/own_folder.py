"""A folder of its own for each run and each sweep: never that of another, whatever the clock says."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.locks import LOCK, NO_LOCKS
from ddselect.runtime.overrides import setting

SETTINGS, RESULTS = "settings.json", "results.json"
_held: list[FileLock] = []  # of the folders that this process has taken


def take(folder: Path, by_clock: bool, key: str) -> Path:
    """Takes a folder for this process until it lets go (:func:`letting_go`); the first rank does it for all of a run.

    Args:
        folder: The folder.
        by_clock: Whether its name comes from the clock: then it is always a new one, with a number behind its name
            where another run was given the same.
        key: The setting that names it.

    Returns:
        The folder, which exists.

    Raises:
        UserError: Another process has it.
    """
    place, number = folder, 1
    while True:
        try:
            place.mkdir(parents=True, exist_ok=not by_clock)
            break
        except FileExistsError:
            if not by_clock:
                raise
            number += 1
            place = folder.with_name(f"{folder.name}_{number}")
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=0)
        _held.append(lock)
    except Timeout:
        raise UserError(f"{key}={folder}: it is in use by another run; name another folder, or wait for that") from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
    return place


def take_named(hydra: Any, kind: str) -> Path:
    """Takes the folder that Hydra's settings name for a ``run`` or a ``sweep``, as :func:`take`."""
    named = OmegaConf.to_container(hydra[kind], resolve=False)
    by_clock = isinstance(named, dict) and "${now:" in str(named["dir"])
    return take(Path(str(hydra[kind].dir)), by_clock, f"hydra.{kind}.dir")


@contextmanager
def letting_go() -> Iterator[None]:
    """Around a command or a run: lets go of the folders that it has taken."""
    before = len(_held)
    try:
        yield
    finally:
        while len(_held) > before:
            _held.pop().release()


def belongs(folder: Path, settings: Mapping[str, Any], writes: bool) -> None:
    """Writes down the settings that a folder's results belong to; those of others are never written over.

    Args:
        folder: The folder of a run.
        settings: What decides its results, by key.
        writes: Whether the run will write results.

    Raises:
        UserError: It will, and the folder holds those of other settings.
    """
    path, now = folder / SETTINGS, json.loads(json.dumps(settings))  # as they are read again
    if (folder / RESULTS).exists():
        before = read_json(path) if path.exists() else {}
        others = ", ".join(key for key in now if before.get(key) != now[key]) if before else "which, is not known"
        if others and writes:
            raise UserError(
                f"hydra.run.dir={folder}: it holds the results of other settings ({others}); name another folder, or "
                "move this one away"
            )
        if others:
            return
    write_json(path, now)


@contextmanager
def folder_of_dry_run() -> Iterator[None]:
    """Lets Hydra make the run's folder before the run; that of a dry run is gone when it ends."""
    if not any(word.lower() in ("dry_run=true", "++dry_run=true") for word in sys.argv[1:]):
        yield
        return
    with TemporaryDirectory(prefix="ddselect-") as folder:
        arguments = list(sys.argv)
        sys.argv += [setting("hydra.run.dir", folder), setting("hydra.sweep.dir", folder)]
        try:
            yield
        finally:
            sys.argv = arguments
