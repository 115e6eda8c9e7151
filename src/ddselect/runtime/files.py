"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed."""

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

_HASHED = 64 * 2**20  # bytes


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
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object."""
    value = json.loads(path.read_text())
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
