"""Running one job of a sweep in a process of its own, whatever launcher runs the job."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddselect.evaluation.objective import objective
from ddselect.runtime import processes
from ddselect.runtime.errors import one_line
from ddselect.runtime.files import read_json, read_text, write_text
from ddselect.runtime.hardware import JOBS_AT_ONCE, processors
from ddselect.runtime.interruption import CODE
from ddselect.runtime.overrides import setting
from ddselect.runtime.ranks import rank
from ddselect.sweep import callback
from ddselect.sweep.callback import INTERRUPTED
from ddselect.sweep.job import ERROR, RESULTS, UNFINISHED, sweep_id, write_record

_GRACE = 2 * processes.GRACE  # seconds in which a job that was told to stop should have ended, with its own children
_LOOK = 1.0  # seconds between looks whether the sweep was interrupted


def run_job(
    overrides: Sequence[str], folder: Path, sweep: Path, at_once: int, options: Sequence[str] = ()
) -> float | None:
    """Runs one job of a sweep as a single run in a fresh process; a failed one does not stop the others.

    How it ended is written to ``job.json`` in its folder. Returned is the objective, what a tuner is told; None where
    there is none. ``at_once`` is how many jobs share this machine; ``options`` are Hydra's, for finding configs.

    Raises:
        SystemExit: The job was interrupted in the sweep's own process, which ends the sweep.
    """
    if (sweep / INTERRUPTED).exists():
        return None
    print(f"[{folder.relative_to(sweep)}] {' '.join(overrides)}", file=sys.stderr, flush=True)
    is_first, mine = rank() == 0, sweep_id(sweep)
    if is_first:
        write_record(folder, overrides, UNFINISHED, 0.0, mine, options)
        (folder / ERROR).unlink(missing_ok=True)
    start = time.monotonic()
    code = _run([*options, *overrides], folder, sweep, at_once)
    if not is_first:
        return None
    write_record(folder, overrides, _error(folder, code), time.monotonic() - start, mine, options)
    (folder / ERROR).unlink(missing_ok=True)
    if code == CODE and callback.sweep_folder:
        sys.exit(CODE)  # the job has said so
    return objective(read_json(folder / RESULTS)) if code == 0 and (folder / RESULTS).exists() else None


def jobs_at_once(hydra_config: Any) -> int:
    """How many jobs of a sweep share this machine; joblib's launcher counts down from all below zero."""
    number = int(hydra_config.launcher.get("n_jobs") or 1)
    return number if number > 0 else max(1, processors() + 1 + number)


def _run(words: Sequence[str], folder: Path, sweep: Path, at_once: int) -> int:
    """Exit code of the job's process, which ends when this one is gone or the sweep is interrupted."""
    share = {JOBS_AT_ONCE: str(at_once)} if at_once > 1 else {}
    grouped = {"WANDB_RUN_GROUP": sweep.name, "WANDB_JOB_TYPE": "sweep"}  # W&B's own names; a user's come first
    command = ["-m", __name__, str(folder), *words, setting("hydra.run.dir", str(folder))]
    job = processes.start(command, env={**grouped, **os.environ, **share})
    try:
        while not processes.wait([job], _LOOK):
            if (sweep / INTERRUPTED).exists():
                raise KeyboardInterrupt
    except KeyboardInterrupt:  # a terminal's Ctrl-C reaches the job too; who told this process alone means the job
        processes.end([job], _GRACE, 2 * processes.GRACE)
        if job.returncode != CODE:
            raise
    return job.returncode


def _error(folder: Path, code: int) -> str:
    """What went wrong, in one line; empty if nothing did."""
    if code <= 0:
        return processes.killed(code) if code else ""
    return read_text(folder / ERROR) if (folder / ERROR).exists() else f"exit code {code}"


def main() -> None:
    """The job's process: runs the command line and leaves word why it failed, ``error.txt`` in the run folder.

    That is its first argument. Further ranks, started with the same command and more, leave none.
    """
    from ddselect import cli
    from ddselect.exits import Leaving

    processes.end_with_parent()
    folder = Path(sys.argv.pop(1))
    try:
        cli.main()
    except BaseException as error:
        if rank() == 0:
            message = error.message if isinstance(error, Leaving) else f"{type(error).__name__}: {error}"
            write_text(folder / ERROR, one_line(message))
        raise


if __name__ == "__main__":
    main()
