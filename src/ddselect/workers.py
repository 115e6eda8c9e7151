"""Selections and students at the same time: worker processes, each running some trials."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf

from ddselect.config import build_experiment
from ddselect.experiment import Experiment
from ddselect.options import further, searching
from ddselect.runtime import interruption, processes, progress
from ddselect.runtime.errors import UserError, full_disk_named

Named = tuple[str, int, str, str]  # a selection, a seed, a protocol and a student
_PROGRESS = re.compile(r"  (.+: \d+/\d+ |waiting for )")  # lines of ddselect.runtime.progress and .locks


def train_in_processes(experiment: Experiment, trials: Sequence[Named], folder: Path, at_once: int) -> None:
    """Runs trials of an experiment whose common stages are finished, some at the same time.

    The workers find finished stages in the store and leave theirs there.

    Args:
        experiment: The experiment.
        trials: Names of selections, seeds, names of protocols and of students; no two need the same stage that is not
            there yet.
        folder: The run folder, for training curves.
        at_once: Number of processes.

    Raises:
        UserError: With a worker's message, if it ended with one.
    """
    changed = {"OMP_NUM_THREADS": str(experiment.trainer.student_threads), "PYTHONIOENCODING": "utf-8"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    hydra = OmegaConf.to_yaml(HydraConfig.instance().cfg) if HydraConfig.initialized() else ""
    workers: list[processes.Child] = []
    pool, following = ThreadPoolExecutor(at_once), []
    try:
        for number in range(at_once):
            mine = {"trials": trials[number::at_once], "folder": str(folder)}
            task = {"config": experiment.source, "hydra": hydra, "places": further(), **mine}
            workers.append(processes.start(["-m", __name__], env={**os.environ, **changed}, **pipes))
            following.append(pool.submit(_follow, workers[-1], task))
        for future in wait(following, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        processes.end(workers)
        raise
    pool.shutdown()


def _follow(worker: processes.Child, task: Mapping[str, object]) -> None:
    """Gives a worker its task and passes on its progress until it ends."""
    assert worker.stdin is not None
    assert worker.stderr is not None
    worker.stdin.write(json.dumps(task) + "\n")
    worker.stdin.flush()  # and left open, its life line
    other = []
    for line in worker.stderr:
        if _PROGRESS.match(line):
            print(line, end="", file=sys.stderr, flush=True)
        elif line.strip():
            other.append(line)
    code = worker.wait()
    if code == interruption.CODE:
        raise KeyboardInterrupt
    if code and other and other[-1].startswith("ddselect: "):
        raise UserError(other[-1].removeprefix("ddselect: ").rstrip())
    if code:
        raise RuntimeError(f"a worker ended with exit code {code}:\n{''.join(other)}")


def main() -> None:
    """A worker: reads its task from standard input and runs its trials, one after the other."""
    from ddselect.exits import one_line_errors, print_anything, stopped
    from ddselect.pipeline import run_trials

    interruption.listen(stopped)
    print_anything()
    task = json.loads(sys.stdin.readline())
    processes.end_with_parent()
    progress.console.quiet = True
    with one_line_errors(), searching(task["places"]):
        if task["hydra"]:  # for ${hydra:...} in a config, and for where it found configs
            setup_globals()
            HydraConfig.instance().cfg = OmegaConf.create(task["hydra"])
        experiment, folder = build_experiment(cast(DictConfig, OmegaConf.create(task["config"]))), Path(task["folder"])
        experiment.trainer.prepare()
        with full_disk_named(experiment.store, folder):
            run_trials(experiment, [tuple(names) for names in task["trials"]], folder)


if __name__ == "__main__":
    main()
