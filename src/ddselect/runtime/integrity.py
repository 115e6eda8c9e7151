"""Whether files are what was written: size and digest of each, taken as it is written and compared when it is read.

A file that an interrupted stage may go on from has them in a note beside it. A finished stage has those of all its
files in its manifest, with the state in which these were last compared: while nothing touches them, a look at sizes and
times is enough.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ddselect.runtime.errors import UserError, one_line
from ddselect.runtime.files import read_json, write_json, write_text
from ddselect.runtime.progress import counting
from ddselect.runtime.ranks import rank

MANIFEST = "manifest.json"
Marks = Mapping[str, str]  # of files, by their paths from the stage's folder


def mark(path: Path) -> str:
    """Size of a file in bytes and digest of its content: BLAKE2b, 32 hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return f"{file.tell()} {digest}"


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Gives a path to write a file to; it then gets its name, and a note beside it of what it holds.

    The note comes first and keeps its last line, so that a kill between the two loses neither file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new.tmp")
    try:
        yield temporary
        write_text(_note(path), "".join(f"{line}\n" for line in [*_noted(path)[-1:], mark(temporary)]))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_sealed(path: Path) -> bool:
    """Whether a file is there, whole and as it was sealed."""
    return path.is_file() and mark(path) in _noted(path)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.sum")


def _noted(path: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return _note(path).read_text(errors="replace").splitlines()
    return []


def tidy(folder: Path) -> None:
    """Removes what a kill in the middle of writing left in a folder, and notes of files that are gone."""
    for path in folder.rglob(".*"):
        if path.suffix == ".tmp" or (path.suffix == ".sum" and not path.with_name(path.stem[1:]).exists()):
            path.unlink()


def marks_of(folder: Path) -> dict[str, str]:
    """The marks of a stage's files, all but the manifest and hidden ones; sealed files are not read again."""
    found = {}
    for path in sorted(path for path in folder.rglob("[!.]*") if path.is_file() and path.name != MANIFEST):
        *_, noted = "", *_noted(path)
        is_noted = noted.startswith(f"{path.stat().st_size} ")
        found[path.relative_to(folder).as_posix()] = noted if is_noted else mark(path)
    return found


def content(folder: Path) -> str:
    """A key of what a stage's files hold: for a result that is not to the last bit the same if it is made again."""
    return _sum(marks_of(folder))


def damage(folder: Path, marks: Marks) -> list[str]:
    """What is wrong with files, in a few words each; nothing is if they all have their marks."""
    found = []
    with counting(f"checking {folder.parent.name}", len(marks), "files") as counter:
        for name, noted in marks.items():
            path, size = folder / name, int(noted.split()[0])
            if not path.is_file():
                found.append(f"{name} is missing")
            elif path.stat().st_size != size:
                found.append(f"{name} has {path.stat().st_size} of {size} bytes")
            elif mark(path) != noted:
                found.append(f"{name} is not what was written")
            counter.advance()
    return found


def _state(folder: Path, marks: Marks) -> str:
    """Changes whenever a file is touched, replaced or renamed; empty if one is missing."""
    key = hashlib.blake2b(digest_size=8)
    with suppress(OSError):
        for name in marks:
            found = os.stat(f"{folder}/{name}")  # noqa: PTH116  (tens of thousands of them)
            key.update(f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode())
        return key.hexdigest()
    return ""


def write_manifest(folder: Path, manifest: Mapping[str, Any], marks: Marks) -> None:
    """Marks a stage finished: writes what is to be known of it, with the marks of its files."""
    whole = {**manifest, "files": marks}
    write_json(folder / MANIFEST, {**whole, "sum": _sum(whole), "checked": _state(folder, marks)})


def _sum(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What is to be known of a finished stage, with ``files``, their marks; an earlier version wrote none.

    Raises:
        UserError: The manifest is damaged, or that of another stage.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        told = _sum({key: value for key, value in manifest.items() if key not in ("sum", "checked")})
        if manifest.get("fingerprint") != folder.name or manifest.get("sum", told) != told:
            raise ValueError("it is not what was written")
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({one_line(error)}); put it back, or have the stage made again with: {mend(folder)}"
        ) from None
    return manifest


def mend(folder: Path) -> str:
    """The command after which a stage is made again by the next run, from those of its parts that are whole."""
    return shlex.join(["rm", str(folder / MANIFEST)])


def check(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The manifest of a finished stage, and what is wrong with its files; they are read if they were touched.

    Raises:
        UserError: The manifest is damaged.
    """
    manifest = read_manifest(folder)
    marks = manifest.get("files", {})
    state, found = _state(folder, marks), list[str]()
    if marks and state != manifest["checked"]:
        found = damage(folder, marks)
        if not found and rank() == 0:
            with suppress(OSError):  # of a store that can only be read they are compared once in a process
                write_json(folder / MANIFEST, {**manifest, "checked": state})
    return {key: value for key, value in manifest.items() if key not in ("files", "sum", "checked")}, found


def damaged(folder: Path, found: list[str]) -> UserError:
    """What to say of a finished stage with damaged files."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return UserError(f"{folder}: {found[0]}{more}; put it back, or have the stage made again with: {mend(folder)}")
