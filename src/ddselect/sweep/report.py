"""The end of a sweep: page, table and one line for each job that failed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_text
from ddselect.sweep import callback
from ddselect.sweep.callback import INTERRUPTED
from ddselect.sweep.job import REPORT, Job, read_jobs

SUMMARY = "summary.csv"


@contextmanager
def reported() -> Iterator[list[str]]:
    """Around Hydra: if it sweeps, the sweep is reported at its end, whatever becomes of its jobs.

    Yields:
        A list that is empty until the end; then, if jobs failed, it holds the last line to say about them.
    """
    failed: list[str] = []
    callback.sweep_folder = None
    try:
        yield failed
    except (KeyboardInterrupt, SystemExit):
        if callback.sweep_folder and callback.sweep_folder.is_dir():
            (callback.sweep_folder / INTERRUPTED).touch()  # jobs that other processes run end too
        raise
    except Exception:
        jobs: list[Job] = read_jobs(callback.sweep_folder) if callback.sweep_folder else []
        if callback.sweep_folder and jobs:
            failed += _report(callback.sweep_folder)
        if not (jobs and all(job.error for job in jobs)):  # a search stumbles over having nothing to choose from
            raise
        return
    if callback.sweep_folder:
        failed += _report(callback.sweep_folder)


def report_again(arguments: Sequence[str]) -> None:
    """Makes page and table of a sweep anew from what its jobs left.

    Raises:
        UserError: There is not one folder, or it holds no jobs.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UserError(
            "sweep-report: name the folder of one sweep, e.g. ddselect sweep-report multirun/2025-01-31_12-00-00"
        )
    folder = Path(arguments[0])
    if not (folder.is_dir() and read_jobs(folder)):
        raise UserError(
            f"{folder}: no jobs of a sweep lie here; a sweep's folder has one for each job, as multirun/<date>"
        )
    _report(folder)


def _report(sweep: Path) -> list[str]:
    """Writes the page and the table, prints the table; returns a last line about failed jobs, if there are any."""
    from ddselect.sweep.page import render_sweep
    from ddselect.sweep.pooling import pool
    from ddselect.sweep.table import csv_text, print_summary

    jobs = read_jobs(sweep)
    pooled = pool(jobs)
    write_text(sweep / SUMMARY, csv_text(pooled))
    write_text(sweep / REPORT, render_sweep(sweep.name, jobs, pooled))
    if pooled.settings:
        print_summary(pooled)
    failed = [job for job in jobs if job.error]
    for job in failed:
        line = f"ddselect: job {job.name} failed: {job.error}; to repeat it: {job.command}"
        print(line, file=sys.stderr, flush=True)
    print(f"report:  {sweep / REPORT}", file=sys.stderr, flush=True)
    print(f"summary: {sweep / SUMMARY}", flush=True)
    return [f"{len(failed)} of {len(jobs)} jobs of the sweep failed"] if failed else []
