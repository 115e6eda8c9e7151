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
from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.integrity import MANIFEST, check, damaged, marks_of, read_manifest, tidy, write_manifest
from ddselect.runtime.interruption import raise_if_interrupted
from ddselect.runtime.locks import sole_builder, wait_for_first_rank
from ddselect.runtime.memory import PeakMemory
from ddselect.runtime.progress import note, remark
from ddselect.runtime.ranks import rank

_LITTLE = 60.0  # seconds that a damaged stage may have taken to be made again unasked


def execution(default: Any) -> Any:
    """A config field that changes how fast something is computed, not what: it stays out of fingerprints."""
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata={"execution": True})
    return dataclasses.field(default=default, metadata={"execution": True})


def describe(value: object, texts: bool = False) -> Any:
    """The part of a config that decides a result, as plain JSON: class name and fields.

    Execution fields are left out, but for those that hold ``texts``, if these are asked for: most of them are places of
    files whose content decides. The name of a class of a plug-in has its module, so that it is no class of ours.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: not f.metadata.get("execution") for f in dataclasses.fields(value)}
        names = [name for name, kept in fields.items() if kept or (texts and isinstance(getattr(value, name), str))]
        kind = type(value)
        name = kind.__name__ if kind.__module__.startswith("ddselect.") else f"{kind.__module__}.{kind.__name__}"
        return {"kind": name, **{name: describe(getattr(value, name), texts) for name in names}}
    if isinstance(value, Mapping):
        return {str(k): describe(v, texts) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v, texts) for v in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        name: Name of the stage.
        fingerprint: 16 hexadecimal digits.
        folder: Where its files lie.
        manifest: Content of its ``manifest.json``: config, what it took and what the stage told about itself.
        reused: Whether another run computed it, or this one before the store was opened.
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

        So an index made again of files that only moved leaves everything after it valid, and a teacher that was trained
        again and came out otherwise does not.
        """
        return str(self.facts.get("digest", self.fingerprint))

    @property
    def facts(self) -> dict[str, Any]:
        """What the stage measured about itself."""
        return dict(self.manifest["facts"])


@dataclass(frozen=True)
class Task:
    """A stage with everything that it needs to be run.

    ``build`` gets the stage's folder, which holds what an interrupted attempt left there: it must go on from that or
    write over it, and returns facts about the result for the manifest. Sentences in a list ``told`` among these are
    shown in every run that uses the result.

    Attributes:
        name: Folder name under the store's root.
        version: Version of the stage's code: raised whenever the same config gives another result.
        config: Dataclass, or several in a dict, that decide the result.
        after: The finished stages it reads.
        build: Computes the stage.
        title: What to show.
        label: What tells it from others of its name in a run, such as ``ddselect-seed0``; empty where there is one.
        expects: Facts that are known before it is built.
        together: Whether all ranks build the stage. Otherwise the first rank does, and the others wait for it; the
            manifest is written by the first in any case.
    """

    name: str
    version: int
    config: object
    after: Sequence[StageResult]
    build: Callable[[Path], Mapping[str, object] | None]
    title: str = ""
    together: bool = False
    label: str = ""
    expects: Callable[[], Mapping[str, object]] = dict

    def identity(self) -> dict[str, Any]:
        """All that decides the result, as plain JSON."""
        after = {done.name: done.identity for done in self.after}
        return {"stage": self.name, "version": self.version, "config": describe(self.config), "after": after}

    def fingerprint(self) -> str:
        """16 hexadecimal digits: a hash of :meth:`identity`."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Listener:
    """Is told what a store does; this one takes no notice."""

    def started(self, task: Task) -> None:
        """A stage is next, whether it is computed or finished already."""

    def finished(self, task: Task, done: StageResult) -> None:
        """A stage is finished, now or before; told again whenever it is asked for again."""


class Store:
    """A folder ``<root>/<stage>/<fingerprint>/`` for each stage; ``manifest.json``, written last, marks it finished."""

    def __init__(self, root: Path, run_name: str = "", listener: Listener | None = None) -> None:
        """A store in a folder.

        Args:
            root: The folder.
            run_name: What the ranks and workers of this run have in common (:func:`ddselect.runtime.ranks.run_name`).
            listener: Is told of each stage that starts and that is finished.
        """
        self.root, self.run_name, self.listener = root, run_name, listener or Listener()
        self._opened = time.time()
        # of finished stages, when the manifest was written and what it says; nothing where the stage is damaged
        self._known: dict[Path, tuple[int, dict[str, Any]]] = {}

    def run(self, task: Task) -> StageResult:
        """Runs a task, or skips it if it is finished.

        Raises:
            UserError: It is finished and damaged, and took long.
            KeyboardInterrupt: The run was to end, see :mod:`ddselect.runtime.interruption`.
        """
        self.listener.started(task)
        done = self._run(task)
        for text in done.facts.get("told", []):
            note(f"  {text}", "yellow")
        self.listener.finished(task, done)
        raise_if_interrupted()
        return done

    def _run(self, task: Task) -> StageResult:
        folder, title = self._folder(task), task.title or task.name
        if not task.together:
            self._wait_for_manifest(task)
        finished = self.find(task)
        if not finished:
            folder.mkdir(parents=True, exist_ok=True)
            with sole_builder(folder, self.run_name, title, lambda: self.find(task) is not None):
                finished = self.find(task)  # it may have been computed meanwhile
                if not finished:
                    return self._build(task, folder)
        if finished.reused:
            note(f"{title}: done before ({finished.fingerprint})", "dim")
        return finished

    def _build(self, task: Task, folder: Path) -> StageResult:
        note(f"{task.title or task.name} ...")
        if rank() == 0:
            (folder / MANIFEST).unlink(missing_ok=True)  # of a damaged stage
        spent = _Spent(folder / ".spent.json")
        try:
            facts = task.build(folder)
        finally:
            if rank() == 0 and folder.exists():
                spent.save()
        if rank() > 0:
            self._wait_for_manifest(task)  # the first may have something left to do alone
            return StageResult(task.name, task.fingerprint(), folder, self._known[folder][1], reused=False)
        tidy(folder)
        marks = marks_of(folder)
        manifest = {
            **task.identity(),
            "fingerprint": task.fingerprint(),
            "run": self.run_name,
            "seconds": round(spent.total(), 3),
            "finished": time.time(),
            "bytes": sum(int(mark.split()[0]) for mark in marks.values()),
            **spent.peaks(),
            "facts": dict(facts or {}),
        }
        write_manifest(folder, manifest, marks)
        spent.remove()
        return StageResult(task.name, task.fingerprint(), folder, manifest, reused=False)

    def find(self, task: Task) -> StageResult | None:
        """A stage if it is finished and whole; one that is damaged counts as unfinished if it took little.

        Raises:
            UserError: It is damaged and took long, or there is no telling.
        """
        folder = self._folder(task)
        if not (folder / MANIFEST).exists():
            return None
        if self._known.get(folder, (0,))[0] != (folder / MANIFEST).stat().st_mtime_ns:
            manifest, found = check(folder)
            if found and manifest["seconds"] > _LITTLE:
                raise damaged(folder, found)
            if found:
                remark(f"{folder}: {found[0]}; it is made again")
            self._known[folder] = (folder / MANIFEST).stat().st_mtime_ns, {} if found else manifest
        manifest = self._known[folder][1]
        if not manifest:
            return None
        is_ours = manifest.get("run", self.run_name) == self.run_name and manifest["finished"] >= self._opened
        return StageResult(task.name, task.fingerprint(), folder, manifest, reused=not is_ours)

    def finished(self) -> list[StageResult]:
        """All finished stages that lie in it, of whatever run, whose manifests are whole."""
        found = []
        for folder in (path.parent for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))):
            with suppress(UserError):
                manifest = {key: value for key, value in read_manifest(folder).items() if key != "files"}
                found.append(StageResult(folder.parent.name, folder.name, folder, manifest, reused=True))
        return found

    def _folder(self, task: Task) -> Path:
        return self.root / task.name / task.fingerprint()

    def _wait_for_manifest(self, task: Task) -> None:
        """In another rank: returns when the first one has finished a stage."""
        if rank() > 0:
            wait_for_first_rank(self._folder(task), task.title or task.name, lambda: self.find(task) is not None)


class _Spent:
    """Seconds and peak memory of a stage over all attempts, as far as interrupted ones could still write them down."""

    def __init__(self, path: Path) -> None:
        self.path, self.start, self.memory = path, time.monotonic(), PeakMemory()
        self.before: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # there is none, or a damaged one
            self.before = read_json(path)

    def total(self) -> float:
        return float(self.before.get("seconds", 0)) + time.monotonic() - self.start

    def peaks(self) -> dict[str, int]:
        now = {"peak_bytes": self.memory.host(), "gpu_peak_bytes": self.memory.gpu()}
        return {name: max(int(self.before.get(name, 0)), value) for name, value in now.items()}

    def save(self) -> None:
        with suppress(OSError):  # a full disk has its own message; these numbers are not worth hiding that one
            write_json(self.path, {"seconds": self.total(), **self.peaks()})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
