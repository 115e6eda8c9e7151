"""Ctrl-C and a scheduler's stop, remembered: a library that swallows every exception cannot lose them."""

import os
import signal
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType

CODE = 130  # exit code of an interrupted process: 128 + SIGINT
_DEAF = 15.0  # seconds that work without Python has to end by itself; schedulers kill after 30
_asked_for = threading.Event()


def listen(last_words: Callable[[], str] = str) -> None:
    """From here on both raise ``KeyboardInterrupt`` once; :func:`raise_if_interrupted` raises it again if it got lost.

    Lightning would take a scheduler's stop for the end of a training, or ignore it. What is ignored on purpose, as
    Ctrl-C is in the background of a shell, stays so. A wait outside Python, as that for other ranks to come, would not
    hear of either: it ends a while later, with the process, whose last words are asked for then.
    """
    _asked_for.clear()
    _watch(last_words)
    for number in (signal.SIGINT, signal.SIGTERM):
        if number == signal.SIGTERM or signal.getsignal(number) is signal.default_int_handler:
            signal.signal(number, _interrupt)


def is_heard(number: signal.Signals) -> bool:
    """Whether :func:`listen` has this signal."""
    return signal.getsignal(number) is _interrupt


def raise_if_interrupted() -> None:
    """Ends work that goes on although it was to end; called between stages, and between units of long work.

    Raises:
        KeyboardInterrupt: It was to end.
    """
    if _asked_for.is_set():
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _asked_for.set()
    raise KeyboardInterrupt


@cache  # one watch is enough
def _watch(last_words: Callable[[], str]) -> None:
    """Ends the process if it does not come to answer a signal, of which a pipe tells at once."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # its signals are not those of this process

    def look() -> None:
        while told := os.read(reading, 1):
            is_ours = told[0] in (signal.SIGINT, signal.SIGTERM) and is_heard(signal.Signals(told[0]))
            if is_ours and not _asked_for.wait(_DEAF):
                os.write(2, f"ddselect: {last_words()}\n".encode())
                os._exit(CODE)

    threading.Thread(target=look, name="signals", daemon=True).start()
