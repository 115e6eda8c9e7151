"""Files in object stores and on web servers, by URL: read in place through fsspec, which knows the protocols.

``s3://`` needs the package s3fs, ``gs://`` gcsfs, ``az://`` adlfs; ``https://`` a server that answers range requests.
Nothing is written there.
"""

import io
import time
from pathlib import Path, PosixPath
from typing import IO, Any, cast

from ddselect.runtime.errors import UserError, brief
from ddselect.runtime.seeds import key64

_ABSENT = (403, 404, 410)  # what servers answer where there is no such file
_CHANGES = ("etag", "mtime", "created", "updated", "lastmodified")  # what stores tell that changes with a file
_TRIES = 4
_BLOCK = 4 * 2**20  # bytes fetched at a time where a file is looked through


class RemotePath(PosixPath):
    """A place below a URL, as a path of which only reading makes sense."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def absolute(self) -> "RemotePath":
        """It is."""
        return self

    def is_dir(self, **_: Any) -> bool:
        """Stores have no folders; what is in it will be seen."""
        return True

    def is_file(self, **_: Any) -> bool:
        """Whether there is such a file.

        Raises:
            UserError: It cannot be told.
        """
        return self._info() is not None

    def state(self) -> tuple[int, int]:
        """Bytes, and a number that changes with the file as far as its store says so: by time or by tag.

        Raises:
            UserError: There is no such file, or the store is not reached.
        """
        info = self._info()
        if info is None:
            raise UserError(f"{self}: there is no such file, or it may not be read")
        said = [f"{key} {info[key]}" for key in sorted(info) if key.lower() in _CHANGES]
        return int(info.get("size") or 0), key64(*said)

    def matches(self, pattern: str) -> list[Path]:
        """Files below it whose names match; a pattern without wildcards is a name."""
        if not any(sign in pattern for sign in "*?["):
            return [self / pattern] if (self / pattern).is_file() else []
        found = self._asked(lambda store, place: store.glob(f"{place.rstrip('/')}/{pattern}"))
        depth = pattern.count("/") + 1
        return [self.joinpath(*path.split("/")[-depth:]) for path in sorted(found)]

    def read_bytes(self) -> bytes:
        """All of a small file."""
        return bytes(self._asked(lambda store, place: store.cat_file(place)))

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        """All of a small file, as a text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def read_part(self, start: int, count: int) -> bytes:
        """Some bytes of a file, in one request.

        Raises:
            UserError: They are not to be had.
        """
        data = bytes(self._asked(lambda store, place: store.cat_file(place, start=start, end=start + count)))
        if len(data) > count:
            raise UserError(f"{self}: the server answers no range requests; copy the shards to a folder")
        return data

    def _info(self) -> dict[str, Any] | None:
        def ask(store: Any, place: str) -> dict[str, Any] | None:
            try:
                store.invalidate_cache()
                return dict(store.info(place))
            except PermissionError:  # S3's answer too where there is no such file and files may not be listed
                return None
            except FileNotFoundError as error:  # which may hide that the server was not reached
                if error.__cause__ is None or getattr(error.__cause__, "status", None) in _ABSENT:
                    return None
                raise error.__cause__ from None

        return self._asked(ask)

    def _asked(self, ask: Any) -> Any:
        """What a store answers, asked again a few times where it does not.

        Raises:
            UserError: It cannot be asked, or never answers.
        """
        from fsspec.core import url_to_fs  # a store for each process and thread, made once

        for number in range(_TRIES):
            try:
                return ask(*url_to_fs(str(self)))
            except (ImportError, ValueError) as error:
                raise UserError(f"{self}: {brief(error)}") from None
            except Exception as error:  # each protocol has errors of its own
                if number == _TRIES - 1 or isinstance(error, FileNotFoundError | PermissionError):
                    cause = error.__cause__ or error
                    raise UserError(
                        f"{self}: it is not to be had ({brief(cause) or type(cause).__name__}); check the address, the "
                        "network and the credentials, the same command goes on"
                    ) from None
                time.sleep(2**number)
        raise AssertionError


class _Blocks(io.RawIOBase):
    """A remote file, fetched in large blocks as it is looked through."""

    def __init__(self, path: RemotePath) -> None:
        self._path, self._size, self._place, self._block = path, path.state()[0], 0, (0, b"")

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._place + size, self._size)
        first, data = self._block
        if self._place < end and not first <= self._place < end <= first + len(data):
            wanted = min(max(end - self._place, _BLOCK), self._size - self._place)
            first, data = self._block = self._place, self._path.read_part(self._place, wanted)
        part = data[self._place - first : end - first] if self._place < end else b""
        self._place += len(part)
        return part


def opened(path: Path) -> IO[bytes]:
    """A file, opened to be read from the beginning to the end, wherever it is."""
    return cast(IO[bytes], _Blocks(path)) if isinstance(path, RemotePath) else path.open("rb")
