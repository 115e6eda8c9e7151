"""A job's process: it ends with whoever started it, and leaves word of what went wrong."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ddselect import cli
from ddselect.exits import Leaving
from ddselect.runtime.hardware import processors
from ddselect.sweep import callback, process
from ddselect.sweep.callback import INTERRUPTED

SLOW = """#!/bin/sh
trap 'exit 130' TERM
touch {folder}/started
while :; do sleep 0.05; done
"""


def _interrupt(sweep: Path) -> None:
    """Interrupts a sweep as soon as its job has started."""
    while not (sweep / "started").exists():
        time.sleep(0.02)
    (sweep / INTERRUPTED).touch()


def test_an_interrupted_sweep_ends_the_jobs_that_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of a launcher hears of it by a file, as does a job that is still to start."""
    (tmp_path / "python").write_text(SLOW.format(folder=tmp_path))
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(callback, "sweep_folder", None)
    monkeypatch.setattr(process, "_LOOK", 0.05)
    monkeypatch.setattr(process, "_GRACE", 0.05)
    threading.Thread(target=_interrupt, args=(tmp_path,), daemon=True).start()
    assert process.run_job(["ipc=1"], tmp_path / "0", tmp_path, 1) is None
    record = json.loads((tmp_path / "0" / "job.json").read_text())
    assert (tmp_path / "started").exists()
    assert record["error"]
    assert process.run_job(["ipc=2"], tmp_path / "1", tmp_path, 1) is None
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("error", "word"),
    [(Leaving("ipc=0: at least 1", 2), "ipc=0: at least 1"), (RuntimeError("two\nlines"), "RuntimeError: two lines")],
)
def test_a_job_leaves_word(error: BaseException, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    monkeypatch.setattr(process.processes, "end_with_parent", lambda: None)
    monkeypatch.setattr(sys, "argv", ["ddselect", str(tmp_path), "ipc=0"])
    with pytest.raises(type(error)):
        process.main()
    assert (tmp_path / "error.txt").read_text() == word


def test_a_job_ends_with_who_started_it(tmp_path: Path) -> None:
    program = (
        "import time; from ddselect import cli; from ddselect.sweep import process; cli.main = lambda: time.sleep(60)"
    )
    program += "; process.main()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert job.stdin is not None
    job.stdin.close()
    assert job.wait(50) == 1


def test_jobs_that_run_at_once_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert processors() == 8
    monkeypatch.setenv("DDSELECT_JOBS_AT_ONCE", "3")
    assert processors() == 2
    monkeypatch.setenv("DDSELECT_JOBS_AT_ONCE", "20")
    assert processors() == 1
