"""Students trained at the same time in processes of their own: the same results, and nobody is left behind."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fault.runs import SMALL, Ended, Started, run_here
from tests.helpers.wandb_file import WandbFile

TWO = (*SMALL, "compare=[random_image]", "selection=random_crop", "hydra.run.dir=run")
CHANGING = ("seconds", "peak_bytes", "reused")
WORKER = "ddselect.workers"


def entries(folder: Path) -> list[dict[str, object]]:
    results = json.loads((folder / "run" / "results.json").read_text())["results"]
    return [{key: value for key, value in entry.items() if key not in CHANGING} for entry in results]


def workers_of(pid: int) -> list[int]:
    """Process ids of the workers that a process started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and WORKER in row[2]]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_two_at_a_time_give_what_one_by_one_does(tmp_path: Path) -> None:
    for name, at_once, logger in (("one", 1, "csv"), ("two", 2, "csv_wandb")):
        (tmp_path / name).mkdir()
        ended = run_here(tmp_path / name, *TWO, "ipc=11", f"trainer.students={at_once}", f"logger={logger}")
        assert ended.code == 0, ended.err
        assert ("2 selections with their students, 2 at a time" in ended.err) == (at_once == 2)
        assert ended.err.count("10 classes have fewer candidates than places") == 2
    followed = WandbFile(tmp_path / "two" / "run")
    for student in ("random_crop-seed0", "random_image-seed0"):
        curve, other = (tmp_path / name / "run" / "logs" / student / "metrics.csv" for name in ("one", "two"))
        assert curve.read_text() == other.read_text()
        last = curve.read_text().splitlines()[-1].split(",")
        assert str(followed.values(f"student/{student}/top1")[-1]) in [value.removesuffix(".0") for value in last]
    one, two = entries(tmp_path / "one"), entries(tmp_path / "two")
    for mine, other in zip(one, two, strict=True):  # bytes may differ by a digit of the seconds in a file
        assert {k: v for k, v in mine.items() if k != "bytes"} == {k: v for k, v in other.items() if k != "bytes"}


@pytest.mark.slow
def test_another_student_trains_on_the_sets_that_are_there(tmp_path: Path) -> None:
    one = (*TWO, "compare=[]", "trainer.students=2", "seeds=[0]")
    assert run_here(tmp_path, *one).code == 0
    ended = run_here(tmp_path, *one, "students=[convnet3]", "relabel=logits", "hydra.run.dir=more")
    assert ended.code == 0, ended.err
    counts = {name: len(list((tmp_path / "store" / name).iterdir())) for name in ("composition", "relabel", "student")}
    assert counts == {"composition": 1, "relabel": 1, "student": 3}  # one of them with live labels
    results = json.loads((tmp_path / "more" / "results.json").read_text())["results"]
    assert [(entry["seed"], entry["student"]) for entry in results] == [(0, "small_resnet16"), (0, "convnet3")]
    logs = {path.name for path in (tmp_path / "more" / "logs").iterdir()}
    assert {"random_crop-seed0", "random_crop-seed0-convnet3"} <= logs


@pytest.mark.slow
def test_a_mistake_in_a_worker_is_one_line(tmp_path: Path) -> None:
    ended = run_here(tmp_path, *TWO, "trainer.students=2", "protocol.learning_rate=1e30")
    assert "the loss is not finite before step" in ended.assert_one_line(2)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_run(number: signal.Signals, tmp_path: Path) -> None:
    run = Started(tmp_path, *TWO, "trainer.students=2", "protocol.steps=100000", "protocol.evaluations=2000")
    run.wait_for("store/student/*/last.ckpt")
    pids = workers_of(run.pid)
    assert 1 <= len(pids) <= 2
    assert_gone(pids, run.end(number))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_scheduler_that_stops_a_worker_stops_the_run(tmp_path: Path) -> None:
    run = Started(tmp_path, *TWO, "trainer.students=2", "protocol.steps=100000", "protocol.evaluations=2000")
    run.wait_for("store/student/*/last.ckpt")
    while len(pids := workers_of(run.pid)) < 2:
        time.sleep(0.05)
    os.kill(pids[0], signal.SIGTERM)
    ended = run.wait()
    assert ended.assert_one_line(130).startswith("ddselect: interrupted; finished stages and shards are kept")
    assert_gone(pids, ended)


def assert_gone(pids: list[int], ended: Ended) -> None:
    patience = time.monotonic() + 30
    while any(is_running(pid) for pid in pids) and time.monotonic() < patience:
        time.sleep(0.1)
    left = [pid for pid in pids if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, ended.err
