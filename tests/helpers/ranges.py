"""A web server of a folder that answers requests for a part of a file, as object stores do, or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.helpers.servers import listening


@dataclass
class Served:
    """What a server was asked, and how it answers."""

    url: str = ""
    asked: list[str] = field(default_factory=list)  # "GET name first-last"
    failures: int = 0  # requests that it answers with 503 before it works
    ranges: bool = True


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, served: Served, **options: Any) -> None:
        self.served = served
        super().__init__(*args, **options)

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        self.served.asked.append(f"{self.command} {self.path.rpartition('/')[2]} {wanted}".strip())
        path = Path(self.translate_path(self.path))
        if self.served.failures > 0:
            self.served.failures -= 1
            return self.send_error(503)
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        first, last = 0, len(data) - 1
        if wanted and self.served.ranges:
            first, last = (int(number) for number in wanted.split("-"))
        part = data[first : last + 1]
        self.send_response(206 if wanted and self.served.ranges else 200)
        if self.served.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)
        return None

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serves a folder until the end."""
    served = Served()
    with listening(partial(_Handler, directory=str(folder), served=served)) as served.url:
        yield served
