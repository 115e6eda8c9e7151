"""A job of a sweep as it lies in its folder: what was asked, how it ended, what it found."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ddselect.evaluation.objective import objective
from ddselect.runtime.files import read_json, write_json

RECORD, RESULTS, REPORT, ERROR = "job.json", "results.json", "report.html", "error.txt"
FOLDER = "hydra.run.dir="  # the last argument of a job's process
_OVERRIDES = ".hydra/overrides.yaml"
UNFINISHED = "did not end by itself: killed with its launcher, or still running"


@dataclass(frozen=True)
class Job:
    """One job."""

    name: str  # its folder below the sweep's, most often its number
    folder: Path
    overrides: list[str]
    error: str  # what went wrong in one line; empty if nothing did
    seconds: float | None  # wall time; None where that is not known
    results: dict[str, Any] | None

    @property
    def command(self) -> str:
        """The command that does the same again as a single run."""
        return command(self.overrides)

    @property
    def objective(self) -> float | None:
        """What a tuner was told of it."""
        return objective(self.results) if self.results else None

    @property
    def values(self) -> dict[str, str]:
        """Its settings by key."""
        pairs = [override.lstrip("+~").partition("=") for override in self.overrides]
        return {key: value for key, _, value in pairs}


def command(overrides: Sequence[str]) -> str:
    """The command line of a single run with some settings."""
    return shlex.join(["python", "run.py", *overrides])


def write_record(folder: Path, overrides: Sequence[str], error: str, seconds: float) -> None:
    """Writes down how a job ended: ``job.json``."""
    write_json(folder / RECORD, {"overrides": list(overrides), "error": error, "seconds": round(seconds, 1)})


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs that lie in a sweep's folder, in the order of their numbers."""
    found = {path.parent for path in sweep.rglob(RECORD)} | {path.parent.parent for path in sweep.rglob(_OVERRIDES)}
    jobs = [_read(folder, folder.relative_to(sweep).as_posix()) for folder in found]
    # words and numbers in turn, so that two names are compared number with number
    return sorted(jobs, key=lambda job: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", job.name)])


def _read(folder: Path, name: str) -> Job:
    results = read_json(folder / RESULTS) if (folder / RESULTS).exists() else None
    if (folder / RECORD).exists():
        record = read_json(folder / RECORD)
        results = None if record["error"] else results  # of an earlier job in the same folder
        return Job(name, folder, record["overrides"], record["error"], record["seconds"], results)
    overrides = [str(word) for word in OmegaConf.load(folder / _OVERRIDES)]
    return Job(name, folder, overrides, "" if results else UNFINISHED, None, results)
