"""Reading every image of a dataset once: in parallel, in bounded memory, and none that was read before.

An image whose file has the path, the size and the time of change that it had is not read again: what an earlier index
in the same store, or an interrupted one, found out about it is taken over, wherever the dataset lay.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddselect.dataset.folders import SourceFile
from ddselect.dataset.formats import is_named_as_picture
from ddselect.dataset.images import VERSION, BrokenImageError, NoPictureError, Source, inspect_image, read_bytes
from ddselect.dataset.layout import kind_of
from ddselect.dataset.remote import RemotePath
from ddselect.runtime import progress
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_json, write_table
from ddselect.runtime.hardware import processors
from ddselect.runtime.integrity import is_sealed, sealed
from ddselect.runtime.progress import counting, note

TABLE, UNREADABLE = "images.parquet", "unreadable.json"
_PARTS = "read-*.parquet"
_AT_ONCE = 64  # images that a thread takes at a time
_KEPT = 4096  # images between two writings of what has been found
_STATE = {"offset": pa.int64(), "bytes": pa.int64(), "mtime": pa.int64()}  # the same: the content is taken to be too
_FACTS = {"width": pa.int32(), "height": pa.int32(), "orientation": pa.int8(), "hash": pa.string()}
_TYPES = {"width": "i4", "height": "i4", "orientation": "i1", "hash": "S16"}

Found = tuple[int, int, int, bytes]  # the facts of an image
Look = Found | str | None  # these, why it cannot be read, or None: it is no image and not named as one


class Surveyed(NamedTuple):
    """What there is in the files of a dataset.

    Attributes:
        table: The readable images (:meth:`Files.table`).
        rows: Their rows (N,) among all files.
        read: Number of files that were read and are images or should be.
        unreadable: Number of images that are skipped.
        left_out: Numbers of files that are no images, by kind.
    """

    table: pa.Table
    rows: np.ndarray
    read: int
    unreadable: int
    left_out: Counter[str]


class Files:
    """The files of a dataset as columns, with what is known of each."""

    def __init__(self, root: Path, files: Sequence[SourceFile]) -> None:
        """Looks at size and time of change of every file, or of the archive that it is in."""
        self.root, self.files = root, files
        self.ids = pa.array((file.id for file in files), pa.string(), size=len(files))
        self.state = {name: np.full(len(files), -1, "i8") for name in _STATE}
        self.facts = {name: np.zeros(len(files), kind) for name, kind in _TYPES.items()}
        self.is_known = np.zeros(len(files), bool)
        archives: dict[str, tuple[int, int]] = {}
        for row, file in enumerate(files):
            if file.offset < 0:
                self.state["bytes"][row], self.state["mtime"][row] = _size_and_time(f"{root}/{file.path}")
                continue
            if file.path not in archives:
                place = root / file.path
                archives[file.path] = place.state() if isinstance(place, RemotePath) else _size_and_time(str(place))
            self.state["offset"][row], self.state["bytes"][row] = file.offset, file.bytes
            self.state["mtime"][row] = archives[file.path][1]

    def __len__(self) -> int:
        return len(self.files)

    def source(self, row: int) -> Source:
        """Where the bytes of a file lie."""
        file = self.files[row]
        return Source(self.root / file.path, file.offset, file.bytes, file.member)

    def learn(self, table: pa.Table) -> None:
        """Takes over what a table says of files that have not changed since."""
        rows = np.flatnonzero(~self.is_known)
        places = pc.index_in(self.ids.take(pa.array(rows)), table["id"])
        rows, places = rows[places.is_valid().to_numpy(zero_copy_only=False)], places.drop_null()
        same = np.ones(len(rows), bool)
        for name, values in self.state.items():
            same &= table[name].take(places).to_numpy() == values[rows]
        rows, places = rows[same], places.filter(pa.array(same))
        for name, values in self.facts.items():
            values[rows] = table[name].take(places).to_numpy()
        self.is_known[rows] = True

    def note(self, row: int, found: Found) -> None:
        """Writes down the facts of a file that has been read."""
        for values, value in zip(self.facts.values(), found, strict=True):
            values[row] = value
        self.is_known[row] = True

    def table(self, rows: np.ndarray) -> pa.Table:
        """Columns id, offset, bytes, mtime, width, height, orientation, hash of some known files."""
        columns = {name: pa.array(self.state[name][rows], kind) for name, kind in _STATE.items()}
        facts = {name: pa.array(self.facts[name][rows]).cast(kind) for name, kind in _FACTS.items()}
        table = pa.table({"id": self.ids.take(pa.array(rows)), **columns, **facts})
        return table.replace_schema_metadata(self.mark)

    @property
    def mark(self) -> dict[bytes, bytes]:
        """What a table must be marked with for its rows to be taken over."""
        return {b"ddselect": str(VERSION).encode()}


def survey(root: Path, sources: Sequence[SourceFile], folder: Path, ceiling: float | None) -> Surveyed:
    """Reads the images that are not known yet.

    What has been found is kept in ``folder`` from time to time, and whatever ends the reading; unreadable images are
    listed there in ``unreadable.json``.

    Beside the folder of the index are those of earlier ones. ``ceiling`` is the largest share of unreadable images that
    are skipped and listed; None: none is.

    Raises:
        UserError: An image is unreadable, or too many are.
    """
    files, left_out = Files(root, sources), Counter[str]()
    for table in _earlier(folder, files.mark):
        files.learn(table)
    todo = np.flatnonzero(~files.is_known)
    listed: list[dict[str, str]] = []
    with counting("index", len(files), "images") as counter:
        counter.resume(len(files) - len(todo))
        for row, found in _read(files, todo, folder, counter):
            if found is None:
                left_out[kind_of(files.source(row).name)] += 1
            elif isinstance(found, str):
                listed.append({"path": str(files.ids[row]), "error": found})
                _refuse(files, row, listed, folder, ceiling)
    (folder / UNREADABLE).unlink(missing_ok=True)
    if listed:
        note(f"  {len(listed)} unreadable images skipped, listed in {folder / UNREADABLE}", "yellow")
        write_json(folder / UNREADABLE, {"files": listed})
    rows = np.flatnonzero(files.is_known)
    return Surveyed(files.table(rows), rows, len(todo) - left_out.total(), len(listed), left_out)


def forget_parts(folder: Path) -> None:
    """Removes what was kept in case of an interruption."""
    for path in folder.glob(_PARTS):
        path.unlink()


def _refuse(files: Files, row: int, listed: list[dict[str, str]], folder: Path, ceiling: float | None) -> None:
    """Ends the reading if the last of the unreadable images is one too many."""
    if ceiling is None:
        raise files.source(row).unreadable(listed[-1]["error"])
    if len(listed) > ceiling * len(files):
        write_json(folder / UNREADABLE, {"files": listed})
        raise UserError(
            f"{len(listed)} of {len(files)} images are unreadable so far, more than dataset.broken_ceiling="
            f"{ceiling:g} allows to skip: {files.source(row)} ({listed[-1]['error']}) and those in "
            f"{folder / UNREADABLE}"
        )


def _read(files: Files, todo: np.ndarray, folder: Path, counter: progress.Counter) -> Iterator[tuple[int, Look]]:
    """Reads files and yields, in order, each one's row and what it is."""

    def read(rows: np.ndarray) -> list[Look]:
        return [_facts(files.source(row)) for row in rows]

    kept, done = 0, 0
    parts = [todo[start : start + _AT_ONCE] for start in range(0, len(todo), _AT_ONCE)]
    pool = ThreadPoolExecutor(processors())  # reading, hashing and decoding do not hold the interpreter's lock
    try:
        for part, results in zip(parts, pool.map(read, parts), strict=True):
            for row, found in zip(part.tolist(), results, strict=True):
                if isinstance(found, tuple):
                    files.note(row, found)
                done += 1
                yield row, found
            counter.advance(len(part))
            if done - kept >= _KEPT:
                _keep(files, todo[kept:done], folder)
                kept = done
    finally:
        pool.shutdown(cancel_futures=True)
        _keep(files, todo[kept:done], folder)


def _keep(files: Files, rows: np.ndarray, folder: Path) -> None:
    """Writes down what was found of some files."""
    rows = rows[files.is_known[rows]]
    if len(rows):
        with sealed(folder / _PARTS.replace("*", f"{len(list(folder.glob(_PARTS))):05d}")) as path:
            write_table(path, files.table(rows))


def _facts(source: Source) -> Look:
    """What a file is; it is opened once."""
    try:
        data = read_bytes(source)
        width, height, orientation = inspect_image(data, source.name)
    except BrokenImageError as error:
        is_none = isinstance(error, NoPictureError) and not is_named_as_picture(source.name)
        return None if is_none else str(error)
    digest = hashlib.blake2b(data, digest_size=8)
    return width, height, orientation, digest.hexdigest().encode()


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        state = os.stat(path)  # noqa: PTH116  (a million of them)
    except OSError:  # reading it will say so
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _earlier(folder: Path, mark: dict[bytes, bytes]) -> Iterator[pa.Table]:
    """What is known of the dataset's images, the latest first; tables of a stage that was not finished too."""
    paths = [*folder.parent.glob(f"*/{TABLE}"), *folder.parent.glob(f"*/{_PARTS}")]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            found = pq.read_schema(path).metadata or {}
            if mark.items() <= found.items() and is_sealed(path):
                yield pq.read_table(path, columns=["id", *_STATE, *_FACTS])
        except (pa.ArrowException, OSError):  # not whole: it is read again
            continue
