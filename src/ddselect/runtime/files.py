"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed."""

import codecs
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save
from torch import Tensor

from ddselect.runtime.errors import UserError

_HASHED = 64 * 2**20  # bytes
_MARKS = (  # UTF-32's begins with that of UTF-16
    *((mark, "utf-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "utf-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder; on success it replaces ``path``, on failure it is removed.

    Raises:
        OSError: As the file system does; ``path`` then holds what it held before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that is refused does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; of a name that is not Unicode its codes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


class NotTextError(UserError, ValueError):
    """A file is no text in an encoding that can be told."""


def decode(data: bytes) -> str:
    """A text as editors of all systems write it: UTF-8, or UTF-16 or UTF-32 with its mark; lines end in newlines.

    Raises:
        NotTextError: It is in another encoding, such as Latin-1, or no text.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise NotTextError(f"line {line} is not {encoding.upper()}; save the file as UTF-8") from None
    if "\0" in text:
        raise NotTextError("it is no text, or UTF-16 without its mark; save the file as UTF-8")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """The text in a file, see :func:`decode`: the one way in which texts are read.

    Raises:
        NotTextError: It is no text.
        OSError: As the file system does.
    """
    try:
        return decode(path.read_bytes())
    except NotTextError as error:
        raise NotTextError(f"{path}: {error}") from None


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object."""
    value = json.loads(read_text(path))
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a JSON object was expected")
    return value


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a Parquet file atomically, zstd-compressed."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file atomically."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata))


def folder_signature(folder: Path) -> str:
    """A key of a model's files in a folder: of their content, or beyond 64 MiB of sizes and times; empty if none."""
    paths = sorted(file for file in folder.rglob("*") if file.suffix in (".json", ".safetensors"))
    if not paths:
        return ""
    digest = hashlib.blake2b(digest_size=8)
    is_small = sum(file.stat().st_size for file in paths) <= _HASHED
    for file in paths:
        digest.update(file.relative_to(folder).as_posix().encode())
        state = file.stat()
        digest.update(file.read_bytes() if is_small else f"{state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()


def file_signature(path: Path) -> str:
    """A key of a file's content; empty if there is none."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() if path.is_file() else ""
