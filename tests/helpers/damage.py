"""What can happen to a file in a store."""

import os
from collections.abc import Callable
from pathlib import Path


def flip(file: Path) -> None:
    """Turns 64 bytes in the middle, or all of fewer."""
    data = bytearray(file.read_bytes())
    start = max(0, len(data) // 2 - 32)
    data[start : start + 64] = bytes(255 - byte for byte in data[start : start + 64])
    file.write_bytes(data)


def flip_unseen(file: Path) -> None:
    """The same, and the time of change is what it was."""
    state = file.stat()
    flip(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def swap(file: Path) -> None:
    """Puts other content of the same size in its place."""
    other = file.with_name("other")
    other.write_bytes(file.read_bytes()[1:] + file.read_bytes()[:1])
    other.replace(file)


def cut(file: Path) -> None:
    """Leaves the first half."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "emptied": lambda file: file.write_bytes(b""),
    "missing": Path.unlink,
    "other content": lambda file: file.write_bytes(b"something else"),
    "swapped": swap,
    "flipped": flip,
    "flipped unseen": flip_unseen,
}
