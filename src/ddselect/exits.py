"""How a process ends: what a user can mend is one line and an exit code, an interruption says how to go on."""

import gc
import io
import os
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from ddselect.messages import mistake
from ddselect.runtime import interruption
from ddselect.runtime.errors import is_interruption
from ddselect.runtime.ranks import rank

_UNREAD = 141  # 128 + SIGPIPE
COMMAND = "DDSELECTCOMMAND"  # in the environment: what the user typed, for processes that a run starts
_LEAD = 10.0  # seconds that the first rank has to say what is wrong


class Leaving(SystemExit):
    """Ends the process; ``message`` has been said."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(code)
        self.message = message


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process with one line for everything that a user can mend; the rest are bugs and show a trace."""
    try:
        with interruptions():
            yield
    except KeyboardInterrupt:
        gc.freeze()  # Python would look through all that was imported once more, for a second, before it ends
        if rank() > 0:
            sys.exit(interruption.CODE)  # the first rank says it
        leave(stopped(), interruption.CODE)
    except Exception as error:
        _leave_if_unread(error)
        if rank() > 0:
            time.sleep(_LEAD)  # where the first rank failed too, or first, it says why and ends this one meanwhile
        message = mistake(error)
        if message is None:
            raise
        leave(message, 2)
    finally:
        _leave_if_unread()


def _leave_if_unread(error: Exception | None = None) -> None:
    """Ends the process if what it prints is lost: nobody reads it, as with ``--help | head``, or a disk is full."""
    for stream in filter(None, (sys.stderr, sys.stdout)):
        lost: OSError | None = None
        try:
            stream.flush()
        except OSError as failure:
            lost = failure
        if lost or (isinstance(error, BrokenPipeError) and _has_no_reader(stream)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes once more at its end
            if lost and not isinstance(lost, BrokenPipeError):
                leave(f"{stream.name}: {lost.strerror}", 2)
            sys.exit(_UNREAD)


def _has_no_reader(stream: TextIO) -> bool:
    pipe = select.poll()
    pipe.register(stream, 0)
    return any(event & select.POLLERR for _, event in pipe.poll(0))


def print_anything() -> None:
    """Lets standard output and error take every text: what their encoding lacks is printed as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def interruptions() -> Iterator[None]:
    """Gives Ctrl-C back: Lightning makes an exit of its own from it, or stumbles over its own clearing up."""
    try:
        yield
    except BaseException as error:
        is_over = isinstance(error, SystemExit) and error.code == interruption.CODE
        if is_interruption(error) and not is_over:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def nothing_begun() -> Iterator[None]:
    """While modules are imported, Ctrl-C ends the process at once: an import can lose an exception or change it."""
    before = {n: signal.signal(n, _leave_at_once) for n in (signal.SIGINT, signal.SIGTERM) if interruption.is_heard(n)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped() -> str:
    """What to say about an interruption: what is kept, and the command that goes on from it."""
    return f"interrupted; finished stages and shards are kept, go on with: {os.environ.get(COMMAND) or command()}"


def command() -> str:
    """This process's command line, quoted for a shell."""
    typed = Path(sys.argv[0])
    words = [typed.name, *sys.argv[1:]] if typed.name == "ddselect" else sys.orig_argv
    return shlex.join(words)


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    if rank() == 0:
        os.write(2, f"ddselect: {stopped()}\n".encode())
    os._exit(interruption.CODE)


def leave(message: str, code: int) -> NoReturn:
    """Says what is wrong and ends the process."""
    print(f"ddselect: {message}", file=sys.stderr, flush=True)
    raise Leaving(message, code)
