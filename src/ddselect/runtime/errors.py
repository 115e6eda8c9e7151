"""What the user sees when something is wrong: one line, what, where and what to do."""

import errno
from collections.abc import Sequence
from difflib import get_close_matches


class UserError(Exception):
    """A mistake or a missing thing that the user can mend; shown as one line without a traceback."""

    def __init__(self, message: str) -> None:
        if (
            "\nOriginal Traceback" in message
        ):  # raised in a data-loading process: torch puts its trace before the message
            message = message.strip().splitlines()[-1].partition("Error: ")[2]
        super().__init__(message)


class NumericalError(UserError):
    """A network gave a value that is not finite; nothing of it was written."""


def one_line(text: object) -> str:
    """Folds a message of several lines into one."""
    return " ".join(str(text).split())


def is_interruption(error: BaseException) -> bool:
    """Whether an error is Ctrl-C or comes from it: Lightning makes an exit of its own from it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause is not None


def disk_full(error: OSError) -> bool:
    """Whether the operating system refused a write for want of space or quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def choose(name: str, known: Sequence[str]) -> str:
    """What to do about a name that is not among the known ones: the one that may be meant, and all of them."""
    meant = get_close_matches(name, known, 1)
    return f"{f'did you mean {meant[0]}? ' if meant else ''}choose from {', '.join(known)}"
