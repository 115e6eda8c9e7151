"""Waits for another process: each says after a few seconds whom it waits for, and gives up in the end."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddselect.runtime.errors import UserError
from ddselect.runtime.interruption import raise_if_interrupted

POLL = 0.2  # seconds between looks at what others do
_PATIENCE = 1200.0  # seconds without a sign of life
_BEAT = 30.0  # seconds between two signs of life


class Wait:
    """A wait for somebody who may never come."""

    def __init__(self, whom: str, says_after: float = 5.0) -> None:
        """A wait that begins now; ``whom`` is who is waited for and where, and ``says_after`` are seconds."""
        self._whom, self._says_at = whom, time.monotonic() + says_after
        self._sign, self._since = object(), time.monotonic()

    def given_up(self, sign: object = None) -> bool:
        """Whether there was no sign of life for long, which is one that differs from that of the look before."""
        now = time.monotonic()
        if now > self._says_at:
            print(f"  waiting for {self._whom}", file=sys.stderr, flush=True)
            self._says_at = float("inf")
        if sign != self._sign:
            self._sign, self._since = sign, now
        return now - self._since > _PATIENCE

    def message(self) -> str:
        """What to say when it is given up."""
        return f"gave up waiting for {self._whom}: no sign of life for {_PATIENCE / 60:.0f} minutes; start all again"


def wait_until(is_over: Callable[[], bool], whom: str, sign: Callable[[], object] = lambda: None) -> None:
    """Returns when something is over.

    Raises:
        UserError: There was no ``sign`` of life for long.
        KeyboardInterrupt: The work was to end, see :mod:`ddselect.runtime.interruption`.
    """
    wait = Wait(whom)
    while not is_over():
        raise_if_interrupted()
        if wait.given_up(sign()):
            raise UserError(wait.message())
        time.sleep(POLL)


@contextmanager
def alive(file: Path) -> Iterator[None]:
    """While this process is inside, the file's time of change shows that it lives."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            with suppress(OSError):
                os.utime(file)

    threading.Thread(target=beat, name="alive", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def last_sign(file: Path) -> float:
    """When the file last changed; 0 if it is not there."""
    with suppress(OSError):
        return file.stat().st_mtime
    return 0.0
