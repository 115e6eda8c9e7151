"""Ctrl-C and a scheduler's stop, remembered: a library that swallows every exception cannot lose them."""

import signal
from types import FrameType

CODE = 130  # exit code of an interrupted process: 128 + SIGINT
_asked_for = False


def listen() -> None:
    """From here on both raise ``KeyboardInterrupt`` once; :func:`raise_if_interrupted` raises it again if it got lost.

    Lightning would take a scheduler's stop for the end of a training, or ignore it. What is ignored on purpose, as
    Ctrl-C is in the background of a shell, stays so.
    """
    global _asked_for
    _asked_for = False
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
    if _asked_for:
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    global _asked_for
    _asked_for = True
    raise KeyboardInterrupt
