"""Reads the file that an offline W&B run leaves: records in the format of LevelDB's log."""

import json
import time
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _HEAD = 32768, 7  # bytes of a block; of the checksum, the length and the kind before each part of a record
_FULL, _LAST = 1, 4
_PATIENCE = 20.0  # seconds


def records(path: Path) -> list[Record]:
    """All records of a file."""
    data, place, parts, found = path.read_bytes(), 7, b"", []  # after W&B's own mark
    assert data[:4] == b":W&B"
    while place + _HEAD <= len(data):
        room = _BLOCK - place % _BLOCK
        if room < _HEAD:
            place += room
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + _HEAD + length > len(data):  # not all of it is written yet
            break
        parts += data[place + _HEAD : place + _HEAD + length]
        place += _HEAD + length
        if kind in (_FULL, _LAST):
            found.append(Record.FromString(parts))
            parts = b""
    return found


class WandbFile:
    """What an offline run holds.

    Attributes:
        run: Its name, group and job type.
        config: Its config.
        rows: What was logged, in order; keys of media hold a description with the path of a file.
        summary: Its last values.
        artifacts: Those logged, by name.
        axes: The horizontal axis of each metric that has one of its own.
        exit_code: With which it was finished; None if it never was.
    """

    def __init__(self, folder: Path) -> None:
        """The only run in a run folder."""
        (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        self.files = path.parent / "files"
        self.config: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        self.axes: dict[str, str] = {}
        self.exit_code: int | None = None
        for record in _when_finished(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= _items(record.run.config.update)
            elif kind == "history":
                self.rows.append(_items(record.history.item))
            elif kind == "summary":
                self.summary |= _items(record.summary.update)
            elif kind == "artifact":
                self.artifacts[record.artifact.name] = record.artifact
            elif kind == "metric":
                self.axes[record.metric.name] = record.metric.step_metric
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    def values(self, key: str) -> list[Any]:
        """Everything logged under a key, in order."""
        return [row[key] for row in self.rows if key in row]

    def table(self, key: str) -> list[dict[str, Any]]:
        """The rows of a table."""
        (described,) = self.values(key)
        content = json.loads((self.files / described["path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    @property
    def keys(self) -> set[str]:
        """All keys that were logged or are in the summary."""
        return {key for row in self.rows for key in row} | self.summary.keys()


def _when_finished(path: Path) -> list[Record]:
    """All records; W&B's own process may still be writing the last ones when a run has ended."""
    patience = time.monotonic() + _PATIENCE
    while not (found := records(path)) or found[-1].WhichOneof("record_type") != "exit":
        if time.monotonic() > patience:
            break
        time.sleep(0.05)
    return found


def _items(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *above, last = item.nested_key or [item.key]
        place = found
        for name in above:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)
    return found
