"""Child processes of all kinds, workers, jobs of a sweep and ranks: how they start, are watched and end.

A child's standard input is its life line: the parent holds it open, and when it ends, the parent is gone.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ddselect.runtime.errors import UserError, check_unicode

GRACE = 5.0  # seconds for a process to end by itself
EVERY = 0.5  # seconds between looks at another process
Child = subprocess.Popen[str]


def start(arguments: Sequence[str], **options: Any) -> Child:
    """Starts Python with options of ``subprocess.Popen``; who lets go of what it returns cuts the child's life line."""
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, encoding="utf-8", errors="backslashreplace", **options)


@cache  # watching twice is of no use
def end_with_parent() -> None:
    """In a child: from here on it ends, whatever it does, when its parent is gone."""
    parent = os.getppid()

    def look() -> bool:
        is_cut = select.select([0], [], [], 0)[0] and not os.read(0, 1)
        if is_cut or os.getppid() != parent:  # what the parent forked may hold the life line a while longer
            os._exit(1)
        return False

    watch(look)


def watch(is_over: Callable[[], bool]) -> None:
    """Looks at something now and then, in the background, until it is over."""

    def look() -> None:
        while not is_over():
            time.sleep(EVERY)

    threading.Thread(target=look, name="watch", daemon=True).start()


def wait(children: Sequence[Child], seconds: float) -> bool:
    """Whether all children have ended, for which it waits so long at most."""
    until = time.monotonic() + seconds
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
    return all(child.returncode is not None for child in children)


def end(children: Sequence[Child], unasked: float = 0.0, grace: float = GRACE) -> None:
    """Ends children: after ``unasked`` seconds they are told to, ``grace`` seconds later killed.

    A terminal's Ctrl-C, for one, reaches them unasked; in the middle of long work without Python they do not listen.
    """
    for seconds, number in ((unasked, signal.SIGTERM), (grace, signal.SIGKILL)):
        if not wait(children, seconds):
            for child in children:
                child.send_signal(number)
    wait(children, grace)


def check_current_folder() -> None:
    """Refuses a current folder that libraries could not work in.

    Raises:
        UserError: It is gone, or its path is not Unicode.
    """
    try:
        check_unicode(str(Path.cwd()), "the current folder")
    except FileNotFoundError:
        raise UserError("the current folder is gone; go to another") from None


def check_loopback() -> None:
    """Refuses a machine on which processes cannot meet: they would wait for each other for ever.

    Raises:
        UserError: It is one.
    """
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=GRACE),
        ):
            pass
    except OSError as error:
        raise UserError(
            f"several processes meet at 127.0.0.1, which cannot be reached here ({error.strerror or error}); bring up "
            "the loopback interface, or take trainer.devices=1"
        ) from None


def killed(code: int) -> str:
    """What to say about a child that a signal ended: its exit code is negative."""
    why = " (most often for want of memory)" if code == -signal.SIGKILL else ""
    return f"killed by {signal.Signals(-code).name}{why}"
