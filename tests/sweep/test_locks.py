"""Two processes want the same stage at the same moment: it is computed once, also when the first one is killed."""

import errno
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from ddselect.runtime.integrity import MANIFEST
from ddselect.runtime.locks import BUILDER, LOCK
from ddselect.runtime.store import Store, Task

_FORK = multiprocessing.get_context("fork")
PARTS = 6


def build(folder: Path) -> dict[str, object]:
    """Writes the parts that are missing, each with the number of its process, not too fast; counts its calls."""
    with (folder.parents[2] / "calls").open("a") as calls:
        calls.write(f"{os.getpid()}\n")
    for number in range(PARTS):
        part = folder / f"part{number}"
        if not part.exists():
            part.write_text(str(os.getpid()))
            time.sleep(0.1)
    return {"parts": PARTS}


def stage(work: Callable[[Path], dict[str, object]] = build) -> Task:
    return Task("scoring", 1, {}, [], work)


def run(root: Path, together: "multiprocessing.synchronize.Barrier", name: str) -> None:  # type: ignore[name-defined]
    log = os.open(root.parent / f"log-{name}", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    store = Store(root, run_name=name)
    together.wait()
    done = store.run(stage())
    (root.parent / f"done-{name}").write_text(f"{done.facts['parts']} {done.reused}")


class Race:
    """Two processes that start together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        barrier = _FORK.Barrier(2)
        self.runs = {name: _FORK.Process(target=run, args=(folder / "store", barrier, name)) for name in ("a", "b")}
        for process in self.runs.values():
            process.start()

    @property
    def calls(self) -> list[int]:
        """Processes that built, in order."""
        path = self.folder / "calls"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    def join(self) -> None:
        for process in self.runs.values():
            process.join(60)
            assert process.exitcode is not None

    def said(self, name: str) -> str:
        """What a process wrote to standard error."""
        return (self.folder / f"log-{name}").read_text()


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    race = Race(tmp_path)
    race.join()
    (builder,) = race.calls
    first, second = ("a", "b") if race.runs["a"].pid == builder else ("b", "a")
    assert (tmp_path / f"done-{first}").read_text() == f"{PARTS} False"
    assert (tmp_path / f"done-{second}").read_text() == f"{PARTS} True"
    assert race.said(second).count("waiting for scoring: process ") <= 1  # not if it came when all was done
    assert f"process {builder} on" in race.said(second) or "waiting" not in race.said(second)
    assert "waiting" not in race.said(first)
    (folder,) = (tmp_path / "store" / "scoring").iterdir()
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *(f"part{number}" for number in range(PARTS))}


def test_the_second_goes_on_from_what_a_killed_one_left(tmp_path: Path) -> None:
    race = Race(tmp_path)
    while not list(tmp_path.glob("store/scoring/*/part1")):
        time.sleep(0.01)
    (builder,) = race.calls
    first, second = ("a", "b") if race.runs["a"].pid == builder else ("b", "a")
    race.runs[first].kill()
    race.join()
    assert race.calls == [builder, race.runs[second].pid]
    assert (tmp_path / f"done-{second}").read_text() == f"{PARTS} False"
    assert not (tmp_path / f"done-{first}").exists()
    (folder,) = (tmp_path / "store" / "scoring").iterdir()
    wrote = [int((folder / f"part{number}").read_text()) for number in range(PARTS)]
    assert wrote[:2] == [builder, builder]
    assert wrote[-1] == race.runs[second].pid
    assert not {LOCK, BUILDER} & {path.name for path in folder.iterdir()}


def test_a_failed_stage_lets_the_next_one_in(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, object]:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        Store(tmp_path).run(stage(fail))
    done = Store(tmp_path).run(stage(lambda folder: {"parts": 0}))
    assert not done.reused
    assert [path.name for path in done.folder.iterdir()] == [MANIFEST]
    assert done.bytes == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError("no flock")])
def test_without_locks_it_goes_on_and_says_so(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: FileLock, *_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    done = Store(tmp_path).run(stage(lambda folder: {"parts": 1}))
    assert done.facts == {"parts": 1}
    assert capsys.readouterr().err.count("no locks on this file system") == 1


def test_a_finished_stage_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a store that can only be read serves as well."""
    Store(tmp_path).run(stage(lambda folder: {"parts": 1}))
    monkeypatch.setattr(FileLock, "__init__", None)
    assert Store(tmp_path).run(stage()).reused
