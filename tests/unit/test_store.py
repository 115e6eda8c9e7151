"""A stage is computed once for each thing that decides it, and an interrupted one goes on."""

import dataclasses
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ddselect.runtime import ranks
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_json
from ddselect.runtime.integrity import MANIFEST, sealed
from ddselect.runtime.locks import BUILDER
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.store import StageResult, Store, Task, execution
from tests.helpers.damage import DAMAGES, flip


@dataclasses.dataclass
class Settings:
    draws: int = 8
    batch: int = execution(64)
    names: list[str] = execution([])


class Build:
    """Counts its calls and notes what it finds in the folder."""

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail
        self.found: list[list[str]] = []

    def __call__(self, folder: Path) -> dict[str, object]:
        self.found.append(sorted(f.name for f in folder.iterdir() if f.name[0] != "."))
        (folder / f"part{len(self.found)}.txt").write_text("12345")
        if self.fail:
            self.fail = False
            raise RuntimeError("killed")
        return {"images": 3}


def stage(root: Path, build: Callable[[Path], dict[str, object]], **changes: object) -> StageResult:
    arguments = {"name": "index", "version": 1, "config": Settings(), "after": [], **changes}
    return Store(root).run(Task(build=build, **arguments))  # type: ignore[arg-type]


def test_finished_stage_is_skipped(tmp_path: Path) -> None:
    build = Build()
    first, second = stage(tmp_path, build), stage(tmp_path, build)
    assert len(build.found) == 1
    assert (first.reused, second.reused) == (False, True)
    assert first.folder == second.folder == tmp_path / "index" / first.fingerprint
    assert second.facts == {"images": 3}
    assert second.manifest == first.manifest
    assert second.manifest["config"] == {"kind": f"{__name__}.Settings", "draws": 8}


def test_bytes_are_those_of_the_result(tmp_path: Path) -> None:
    assert stage(tmp_path, Build()).manifest["bytes"] == 5


def test_interrupted_stage_has_no_manifest_and_goes_on(tmp_path: Path) -> None:
    build = Build(fail=True)
    with pytest.raises(RuntimeError, match="killed"):
        stage(tmp_path, build)
    assert not list(tmp_path.rglob(MANIFEST))
    done = stage(tmp_path, build)
    assert build.found == [[], ["part1.txt"]]
    assert not done.reused
    assert {f.name for f in done.folder.iterdir()} == {"part1.txt", "part2.txt", MANIFEST}


def test_time_of_interrupted_attempts_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 40.0, 100.0, 105.0, 105.0, 105.0])
    monkeypatch.setattr("ddselect.runtime.store.time", SimpleNamespace(monotonic=lambda: next(clock), time=lambda: 0.0))
    build = Build(fail=True)
    with pytest.raises(RuntimeError, match="killed"):
        stage(tmp_path, build)
    assert stage(tmp_path, build).seconds == 45.0


def test_peak_memory_is_that_of_the_stage(tmp_path: Path) -> None:
    def large(folder: Path) -> None:
        np.ones(40_000_000)  # 320 MB, given back to the system at once

    before = stage(tmp_path, Build(), name="a").manifest["peak_bytes"]
    peak = stage(tmp_path, large, name="b").peak_bytes  # type: ignore[arg-type]
    after = stage(tmp_path, Build(), name="c").manifest["peak_bytes"]
    assert peak is not None
    assert peak > before + 250e6
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert after < peak - 250e6


def test_peak_memory_of_interrupted_attempts_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([7000, 5000])
    monkeypatch.setattr("ddselect.runtime.memory.PeakMemory.host", lambda _: next(peaks, 10))
    build = Build(fail=True)
    with pytest.raises(RuntimeError, match="killed"):
        stage(tmp_path, build)
    done = stage(tmp_path, build)
    assert (done.peak_bytes, done.gpu_peak_bytes) == (7000, None)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"name": "scoring"},
        {"config": Settings(draws=16)},
        {"config": {"settings": Settings()}},
        {"after": [StageResult("index", "aa", Path(), {"facts": {}}, False)]},
        {"after": [StageResult("index", "bb", Path(), {"facts": {}}, False)]},
        {"after": [StageResult("index", "aa", Path(), {"facts": {"digest": "cc"}}, False)]},
    ],
)
def test_whatever_decides_the_result_changes_the_fingerprint(tmp_path: Path, change: dict[str, object]) -> None:
    plain = stage(tmp_path, Build()).fingerprint
    others = {
        stage(tmp_path, Build(), after=[StageResult("index", x, Path(), {"facts": {}}, False)]).fingerprint
        for x in "xy"
    }
    changed = stage(tmp_path, Build(), **change).fingerprint
    assert len({plain, changed} | others) == 4


def test_execution_fields_do_not(tmp_path: Path) -> None:
    plain = stage(tmp_path, Build())
    assert stage(tmp_path, Build(), config=Settings(batch=1, names=["x"])).fingerprint == plain.fingerprint
    assert stage(tmp_path, Build(), config=Settings(batch=1), title="other").reused


def test_same_digest_upstream_keeps_what_follows(tmp_path: Path) -> None:
    def upstream(fingerprint: str) -> list[StageResult]:
        return [StageResult("index", fingerprint, Path(), {"facts": {"digest": "same"}}, False)]

    first = stage(tmp_path, Build(), name="scoring", after=upstream("aa"))
    assert stage(tmp_path, Build(), name="scoring", after=upstream("bb")).fingerprint == first.fingerprint


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", '{"fingerprint": "another"}', b"\xff{}"])
def test_damaged_manifest_is_one_line_that_says_what_to_do(tmp_path: Path, content: str | bytes) -> None:
    done = stage(tmp_path, Build())
    (done.folder / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        UserError, match=f"{MANIFEST} is damaged.*made again with: rm {done.folder / MANIFEST}$"
    ) as caught:
        stage(tmp_path, Build())
    assert "\n" not in str(caught.value)


class Shards:
    """Two shards, of which it makes those that are missing or not whole, and a table of both."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, folder: Path) -> dict[str, object]:
        plan = ShardPlan(folder, 4, 2, ".bin")
        for shard in plan.missing():
            self.made.append(shard)
            with sealed(plan.path(shard)) as path:
                path.write_text(f"shard {shard} " * 20)
        (folder / "table.bin").write_text("".join(plan.path(shard).read_text() for shard in range(2)))
        return {"images": 4}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(("name", "again"), [("shard-00001-of-00002.bin", [1]), ("table.bin", [])])
def test_a_damaged_stage_that_took_little_is_made_again_from_what_is_whole(
    tmp_path: Path, damage: Callable[[Path], object], name: str, again: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    done = stage(tmp_path, Shards())
    before = {path.name: path.read_bytes() for path in done.folder.glob("*.bin")}
    damage(done.folder / name)
    build = Shards()
    mended = stage(tmp_path, build)
    assert build.made == again
    assert not mended.reused
    assert {path.name: path.read_bytes() for path in done.folder.glob("*.bin")} == before
    assert capsys.readouterr().err.count(f"{done.folder}: {name} ") == 1
    assert stage(tmp_path, build).reused


def test_a_damaged_stage_that_took_long_is_named_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = stage(tmp_path, Shards())
    monkeypatch.setattr("ddselect.runtime.store._LITTLE", -1.0)
    flip(done.folder / "shard-00001-of-00002.bin")
    (done.folder / "table.bin").unlink()
    build = Shards()
    with pytest.raises(UserError, match=r"shard-00001-of-00002.bin is not what was written \(and 1 more\)") as caught:
        stage(tmp_path, build)
    assert build.made == []
    assert "\n" not in str(caught.value)
    command = str(caught.value).partition("with: ")[2]
    subprocess.run(shlex.split(command), check=True)
    assert stage(tmp_path, build).facts == {"images": 4}
    assert build.made == [1]


def test_an_interrupted_stage_goes_on_from_whole_shards_alone(tmp_path: Path) -> None:
    done = stage(tmp_path, Shards())
    (done.folder / MANIFEST).unlink()
    flip(done.folder / "shard-00000-of-00002.bin")
    (done.folder / ".spent.json").write_bytes(b"torn")
    build = Shards()
    stage(tmp_path, build)
    assert build.made == [0]


def test_a_stage_of_an_earlier_version_has_no_list_and_is_taken_as_it_is(tmp_path: Path) -> None:
    done = stage(tmp_path, Shards())
    manifest = {key: done.manifest[key] for key in done.manifest if key not in ("files", "sum", "checked")}
    write_json(done.folder / MANIFEST, manifest)
    build = Shards()
    assert stage(tmp_path, build).reused
    assert build.made == []


def test_another_rank_waits_until_a_damaged_stage_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = stage(tmp_path, Shards())
    whole = (done.folder / "table.bin").read_bytes()
    flip(done.folder / "table.bin")
    monkeypatch.setattr(ranks, "_place", ranks._Place(1))

    def mended(_: float) -> None:
        (done.folder / "table.bin").write_bytes(whole)
        (done.folder / MANIFEST).write_text((done.folder / MANIFEST).read_text())  # by the first one

    monkeypatch.setattr("ddselect.runtime.waiting.time", SimpleNamespace(sleep=mended, monotonic=time.monotonic))
    build = Shards()
    assert stage(tmp_path, build).reused
    assert build.made == []


def test_helping_rank_waits_for_the_first_and_never_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = stage(tmp_path, Build())
    manifest = (done.folder / MANIFEST).read_text()
    (done.folder / MANIFEST).unlink()
    monkeypatch.setattr(ranks, "_place", ranks._Place(1))
    finish = SimpleNamespace(sleep=lambda _: (done.folder / MANIFEST).write_text(manifest), monotonic=time.monotonic)
    monkeypatch.setattr("ddselect.runtime.waiting.time", finish)
    build = Build()
    assert stage(tmp_path, build).reused
    assert build.found == []


def test_helping_rank_builds_together_and_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one may have something left to do alone, and it alone writes the manifest."""
    first = stage(tmp_path / "first", Build(), together=True)
    monkeypatch.setattr(ranks, "_place", ranks._Place(1))
    build, place = Build(), tmp_path / "other" / first.folder.relative_to(tmp_path / "first")
    place.mkdir(parents=True)
    write_json(place / BUILDER, {"run": ""})  # the first rank has begun
    later = threading.Timer(1.0, lambda: shutil.copy(first.folder / MANIFEST, place))
    later.start()
    start = time.monotonic()
    done = stage(tmp_path / "other", build, together=True)
    assert len(build.found) == 1
    assert time.monotonic() - start > 0.9
    assert (done.folder / MANIFEST).read_bytes() == (first.folder / MANIFEST).read_bytes()
