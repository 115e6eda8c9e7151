"""The store: every finished stage lies under the fingerprint of all that decided it, and is never computed twice."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ddselect.runtime.errors import UserError
from ddselect.runtime.files import folder_bytes, read_json, write_json
from ddselect.runtime.memory import PeakMemory
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank

MANIFEST = "manifest.json"
_POLL = 0.2  # seconds between looks at what the first rank does


def execution(default: Any) -> Any:
    """A config field that changes how fast something is computed, not what: it stays out of fingerprints."""
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata={"execution": True})
    return dataclasses.field(default=default, metadata={"execution": True})


def describe(value: object) -> Any:
    """The part of a config that decides a result, as plain JSON: class name and fields, execution fields left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if not f.metadata.get("execution")]
        return {"kind": type(value).__name__, **{f.name: describe(getattr(value, f.name)) for f in fields}}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class Done:
    """A finished stage.

    Attributes:
        name: Name of the stage.
        fingerprint: 16 hexadecimal digits.
        folder: Where its files lie.
        manifest: Content of its ``manifest.json``: config, what it took and what the stage told about itself.
        reused: Whether it was finished before the store was opened, that is before this run.
    """

    name: str
    fingerprint: str
    folder: Path
    manifest: dict[str, Any]
    reused: bool

    @property
    def seconds(self) -> float:
        """Wall time that the stage took when it was computed, interrupted attempts included."""
        return float(self.manifest["seconds"])

    @property
    def bytes(self) -> int:
        """Size of its folder, without the manifest."""
        return int(self.manifest["bytes"])

    @property
    def peak_bytes(self) -> int | None:
        """Peak resident memory of the process that computed it, the first rank's; None where that is not known."""
        return self.manifest.get("peak_bytes") or None

    @property
    def gpu_peak_bytes(self) -> int | None:
        """The same of what torch had allocated on a GPU; None where it used none."""
        return self.manifest.get("gpu_peak_bytes") or None

    @property
    def identity(self) -> str:
        """What later stages depend on: the digest of the result where the stage gives one, else the fingerprint.

        So an index made again of files that only moved leaves everything after it valid.
        """
        return str(self.facts.get("digest", self.fingerprint))

    @property
    def facts(self) -> dict[str, Any]:
        """What the stage measured about itself."""
        return dict(self.manifest["facts"])


@dataclass(frozen=True)
class Stage:
    """A stage that can be run.

    ``build`` gets the stage's folder, which holds what an interrupted attempt left there: it must go on from that or
    write over it, and returns facts about the result for the manifest.

    Attributes:
        name: Folder name under the store's root.
        version: Version of the stage's code: raised whenever the same config gives another result.
        config: Dataclass, or several in a dict, that decide the result.
        after: The finished stages it reads.
        build: Computes the stage.
        title: What to show.
        together: Whether all ranks build the stage. Otherwise the first rank does, and the others wait for it; the
            manifest is written by the first in any case.
    """

    name: str
    version: int
    config: object
    after: Sequence[Done]
    build: Callable[[Path], Mapping[str, object] | None]
    title: str = ""
    together: bool = False

    def identity(self) -> dict[str, Any]:
        """All that decides the result, as plain JSON."""
        after = {done.name: done.identity for done in self.after}
        return {"stage": self.name, "version": self.version, "config": describe(self.config), "after": after}

    def fingerprint(self) -> str:
        """16 hexadecimal digits: a hash of :meth:`identity`."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Store:
    """A folder ``<root>/<stage>/<fingerprint>/`` for each stage; ``manifest.json``, written last, marks it finished."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened = time.time()

    def run(self, stage: Stage) -> Done:
        """Runs a stage, or skips it if it is finished."""
        fingerprint, folder = stage.fingerprint(), self._folder(stage)
        if not stage.together:
            _wait_for_first_rank(folder)
        finished = self.find(stage)
        if finished:
            if finished.reused:
                note(f"[dim]{stage.title or stage.name}: done before ({fingerprint})[/dim]")
            return finished
        note(f"{stage.title or stage.name} ...")
        folder.mkdir(parents=True, exist_ok=True)
        spent = _Spent(folder / "spent.json")
        try:
            facts = stage.build(folder)
        finally:
            if rank() == 0 and folder.exists():
                spent.save()
        if rank() == 0:
            for torn in folder.rglob(".*.tmp"):  # what a kill in the middle of writing left
                torn.unlink()
        _wait_for_first_rank(folder)  # it may have something left to do alone
        manifest = {
            **stage.identity(),
            "fingerprint": fingerprint,
            "seconds": round(spent.total(), 3),
            "finished": time.time(),
            "bytes": folder_bytes(folder) - spent.bytes(),
            **spent.peaks(),
            "facts": dict(facts or {}),
        }
        if rank() == 0:
            write_json(folder / MANIFEST, manifest)
            spent.remove()
        return Done(stage.name, fingerprint, folder, manifest, reused=False)

    def find(self, stage: Stage) -> Done | None:
        """A stage if it is finished."""
        folder = self._folder(stage)
        if not (folder / MANIFEST).exists():
            return None
        manifest = _read_manifest(folder)
        return Done(stage.name, stage.fingerprint(), folder, manifest, reused=manifest["finished"] < self._opened)

    def finished(self) -> list[Done]:
        """All finished stages that lie in it, of whatever run."""
        folders = [path.parent for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))]
        return [Done(f.parent.name, f.name, f, _read_manifest(f), reused=True) for f in folders]

    def _folder(self, stage: Stage) -> Path:
        return self.root / stage.name / stage.fingerprint()


def _wait_for_first_rank(folder: Path) -> None:
    """In another rank: returns when the first one has finished the stage in a folder."""
    while rank() > 0 and not (folder / MANIFEST).exists():
        time.sleep(_POLL)


class _Spent:
    """Seconds and peak memory of a stage over all attempts, as far as interrupted ones could still write them down."""

    def __init__(self, path: Path) -> None:
        self.path, self.start, self.memory = path, time.monotonic(), PeakMemory()
        nothing = {"seconds": 0.0, "peak_bytes": 0, "gpu_peak_bytes": 0}
        self.before = read_json(path) if path.exists() else nothing

    def total(self) -> float:
        return float(self.before["seconds"]) + time.monotonic() - self.start

    def peaks(self) -> dict[str, int]:
        now = {"peak_bytes": self.memory.host(), "gpu_peak_bytes": self.memory.gpu()}
        return {name: max(int(self.before[name]), value) for name, value in now.items()}

    def save(self) -> None:
        with suppress(OSError):  # a full disk has its own message; these numbers are not worth hiding that one
            write_json(self.path, {"seconds": self.total(), **self.peaks()})

    def bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / MANIFEST)
    except ValueError as error:
        raise UserError(
            f"{folder / MANIFEST} is damaged ({error}); remove the folder {folder} to compute it again"
        ) from None
