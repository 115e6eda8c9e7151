"""Selections and students at the same time: worker processes, each running some branches of the pipeline."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.dictconfig import DictConfig

from ddselect.config import Experiment, build_experiment
from ddselect.runtime import interruption, progress
from ddselect.runtime.errors import UserError

Named = tuple[str, int, str, str]  # a selection, a seed, a protocol and a student
_GRACE = 5.0  # seconds for a worker to end by itself
_PROGRESS = re.compile(r"  (.+: \d+/\d+ |waiting for )")  # lines of ddselect.runtime.progress and .locks


def train_in_processes(experiment: Experiment, branches: Sequence[Named], folder: Path, at_once: int) -> None:
    """Runs branches of an experiment whose common stages are finished, some at the same time.

    The workers find finished stages in the store and leave theirs there.

    Args:
        experiment: The experiment.
        branches: Names of selections, seeds, names of protocols and of students; no two need the same stage that is not
            there yet.
        folder: The run folder, for training curves.
        at_once: Number of processes.

    Raises:
        UserError: With a worker's message, if it ended with one.
    """
    running: list[subprocess.Popen[str]] = []
    pool = ThreadPoolExecutor(at_once)
    try:
        shares = [branches[number::at_once] for number in range(at_once)]
        futures = [pool.submit(_run, experiment, share, folder, running) for share in shares]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _end(running)
        raise
    pool.shutdown()


def _run(
    experiment: Experiment,
    share: Sequence[Named],
    folder: Path,
    running: list[subprocess.Popen[str]],
) -> None:
    """Runs one worker to its end and passes on its progress."""
    threads = {"OMP_NUM_THREADS": str(experiment.trainer.student_threads)}
    command = [sys.executable, "-m", "ddselect.workers"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
    )
    running.append(process)
    assert process.stdin is not None
    assert process.stderr is not None
    task = {"config": experiment.source, "folder": str(folder), "branches": share}
    process.stdin.write(json.dumps(task) + "\n")
    process.stdin.flush()  # and left open: its end tells the worker that this process is gone
    other = []
    for line in process.stderr:
        if _PROGRESS.match(line):
            print(line, end="", file=sys.stderr, flush=True)
        elif line.strip():
            other.append(line)
    code = process.wait()
    if code == 130:
        raise KeyboardInterrupt
    if code and other and other[-1].startswith("ddselect: "):
        raise UserError(other[-1].removeprefix("ddselect: ").rstrip())
    if code:
        raise RuntimeError(f"a worker ended with exit code {code}:\n{''.join(other)}")


def _end(running: Sequence[subprocess.Popen[str]]) -> None:
    """Ends all workers; those that do not end by themselves, in the middle of long work without Python, are killed."""
    for process in running:
        process.terminate()
    patience = time.monotonic() + _GRACE
    for process in running:
        try:
            process.wait(max(0.0, patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _leave_with_parent() -> None:
    """Ends this process when the other end of its standard input is gone."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """A worker: reads its task from standard input and runs its branches, one after the other."""
    from ddselect.cli import one_line_errors
    from ddselect.pipeline import run_branches

    interruption.listen()
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    progress.console.quiet = True
    with one_line_errors():
        cfg = OmegaConf.create(task["config"])
        assert isinstance(cfg, DictConfig)
        branches = [(selection, seed, protocol, student) for selection, seed, protocol, student in task["branches"]]
        run_branches(build_experiment(cfg), branches, Path(task["folder"]))
    os._exit(0)  # the thread that watches the parent would keep it waiting


if __name__ == "__main__":
    main()
