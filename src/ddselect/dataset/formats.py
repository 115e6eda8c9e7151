"""Which files are pictures: what they hold says so, and their suffix only where a format has no mark of its own."""

import os
import struct
from functools import cache

from PIL import Image

HEAD = 16  # bytes that Pillow tells a format by
_NOT_READ = ("EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5")  # they need other programs: Pillow has but their headers
# A camera's raw photograph is a TIFF of which Pillow would read a thumbnail; a .thm is the thumbnail of a film.
_THUMBNAILS = {
    *(".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf"),
    *(".pef", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".thm"),
}


@cache
def _formats() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The formats that are read and have a mark, and by suffix those that a file of that name may have."""
    Image.init()
    read = [name for name in Image.ID if name not in _NOT_READ]
    marked = tuple(name for name in read if Image.OPEN[name][1])
    suffixes = {suffix: name for suffix, name in Image.registered_extensions().items() if name in read}
    return marked, {suffix: marked if name in marked else (*marked, name) for suffix, name in suffixes.items()}


def suffix_of(name: str) -> str:
    """The suffix of a file's name in small letters, with its dot; empty if it has none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  (a million of them)


def is_named_as_picture(name: str) -> bool:
    """Whether a file's suffix is that of a format that is read."""
    return suffix_of(name) in _formats()[1]


def formats_of(name: str) -> tuple[str, ...]:
    """Pillow's formats that a file of some name may have."""
    marked, by_suffix = _formats()
    return by_suffix.get(suffix_of(name), marked)


def begins_as_picture(head: bytes, name: str) -> bool:
    """Whether the first :data:`HEAD` bytes of a file are those of a picture."""
    return suffix_of(name) not in _THUMBNAILS and any(_accepts(format, head) for format in formats_of(name))


def _accepts(format: str, head: bytes) -> bool:
    accept = Image.OPEN[format][1]
    try:
        found = accept is None or accept(head)
        return bool(found) and not isinstance(found, str)  # a text says what Pillow would need
    except (IndexError, TypeError, struct.error):  # too short for it
        return False
