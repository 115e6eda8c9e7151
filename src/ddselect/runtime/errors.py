"""What the user sees when something is wrong: one line, what, where and what to do."""

import errno
import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

_LITTLE = 2**26  # bytes that are no room


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


def at_least(least: float, group: str, settings: object, *names: str) -> None:
    """Refuses numbers of a group's settings that are smaller."""
    for name in names:
        if getattr(settings, name) < least:
            needed = f"at least {least} is needed" if least else "0 or more is needed"
            raise UserError(f"{group}.{name}={getattr(settings, name)}: {needed}")


def at_most(most: float, group: str, settings: object, *names: str) -> None:
    """Refuses numbers of a group's settings that are larger: slips of the keyboard that would cost a night."""
    for name in names:
        if getattr(settings, name) > most:
            raise UserError(f"{group}.{name}={getattr(settings, name)}: at most {most:,} is taken")


def shares(group: str, settings: object, *names: str, below_one: bool = False) -> None:
    """Refuses numbers of a group's settings that are not from 0 to 1; None, which is none, passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (0 <= value < 1 if below_one else 0 <= value <= 1):
            end = "up to, not including, 1" if below_one else "to 1"
            raise UserError(f"{group}.{name}={value}: a share from 0 {end} is needed")


def check_unicode(name: str, what: str) -> str:
    """A name from the command line or a file system, refused if it is not UTF-8 there: nothing could be written of it.

    Raises:
        UserError: It is not.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{what} {os.fsencode(name)!r} is not Unicode (UTF-8); rename it") from None
    return name


def one_line(text: object) -> str:
    """Folds a message of several lines into one."""
    return " ".join(str(text).split())


def brief(error: object, most: int = 160) -> str:
    """The beginning of a message in one line: whole sentences, or where the first is longer, whole words of it."""
    text = one_line(error)
    if len(text) <= most:
        return text
    end = max(text.rfind(mark, 0, most) for mark in (". ", "; ", ": "))
    return text[:end] if end > 0 else text[: text.rfind(" ", 0, most)] + " ..."


def is_interruption(error: BaseException) -> bool:
    """Whether an error is Ctrl-C or comes from it: Lightning makes an exit of its own from it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause is not None


def disk_full(error: Exception) -> bool:
    """Whether the operating system refused a write for want of space or quota; not every library says it with errno."""
    return getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or f"(os error {errno.ENOSPC})" in str(error)


@contextmanager
def full_disk_named(store: Path, run_folder: Path) -> Iterator[None]:
    """Around all that a run writes: an error of a full disk that names no file gets the place that has no room.

    Where both have some, it may be a quota, or what is printed.
    """
    try:
        yield
    except Exception as error:
        if disk_full(error) and not getattr(error, "filename", None):
            places = {f"the store ({store})": store, f"the run folder ({run_folder})": run_folder}
            free = {name: shutil.disk_usage(place).free for name, place in places.items()}
            if min(free.values()) < _LITTLE:
                error.filename = min(places, key=free.__getitem__)  # type: ignore[attr-defined]
        raise


def sentence(error: object) -> str:
    """The sentence of a library's message that says what is wrong, whole; one without end is cut at a word."""
    text = one_line(error)
    text = text.partition("WeightsUnpickler error: ")[2] or text  # before it torch tells how to load it nevertheless
    return textwrap.shorten(re.split(r"(?<=[.!]) (?=[A-Z(])", text)[0].rstrip("."), 300, placeholder=" ...")


def choose(name: str, known: Sequence[str]) -> str:
    """What to do about a name that is not among the known ones: the one that may be meant, and all of them."""
    meant = get_close_matches(name, known, 1)
    return f"{f'did you mean {meant[0]}? ' if meant else ''}choose from {', '.join(known)}"
