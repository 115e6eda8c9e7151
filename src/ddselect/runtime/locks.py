"""One builder at a time: who wants a stage that another run is just computing waits for it.

The lock is the operating system's (``flock``), so that it ends with its process, however that ends.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.progress import remark
from ddselect.runtime.ranks import rank
from ddselect.runtime.waiting import POLL, alive, last_sign, wait_until

LOCK, BUILDER = ".lock", ".builder.json"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)  # a file system without them


@contextmanager
def sole_builder(folder: Path, run: str, title: str, is_done: Callable[[], bool]) -> Iterator[None]:
    """Around the building of a stage: only one run is inside for a folder, the others wait until it is done or gone.

    Only the first rank takes the lock. The others of its run enter when it has, or when the stage is done, so that all
    of them decide alike. On a file system without locks nobody waits, which is said once.

    ``run`` is what the ranks of a run, and none of another one, have in common. Whoever waited must look again whether
    the stage ``is_done``.
    """
    if rank() > 0:
        wait_for_first_rank(folder, title, lambda: is_done() or _builder(folder).get("run") == run)
        yield
        return
    lock = FileLock(folder / LOCK)
    try:
        _take(lock, folder, title)
        if not is_done():
            write_json(folder / BUILDER, {"host": socket.gethostname(), "process": os.getpid(), "run": run})
        try:
            with alive(folder / BUILDER):
                yield
        finally:
            (folder / BUILDER).unlink(missing_ok=True)
            if is_done():  # from now on nobody needs the lock: who waits for it looks again first
                (folder / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()


def wait_for_first_rank(folder: Path, title: str, is_over: Callable[[], bool]) -> None:
    """In another rank: returns when the first one has come so far with the stage in a folder.

    Raises:
        UserError: It gives no sign of life.
    """
    whom = f"the first rank, which begins and ends '{title}' in {folder}"
    wait_until(is_over, whom, lambda: last_sign(folder / BUILDER))


def _take(lock: FileLock, folder: Path, title: str) -> None:
    """Takes the lock, or says why there is none to take; while another has it, says who that is."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            found = _builder(folder)
            who = f"process {found['process']} on {found['host']}" if found else "another run"
            remark(f"waiting for {title}: {who} is computing it")
            lock.acquire(poll_interval=POLL)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        remark(f"{folder}: no locks on this file system; runs that start together may compute a stage twice")


def _builder(folder: Path) -> dict[str, object]:
    """Who builds, as far as that is known."""
    with suppress(OSError, ValueError):
        return read_json(folder / BUILDER)
    return {}
