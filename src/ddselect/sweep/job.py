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
SWEEP = "sweep.json"  # in a sweep's folder: which sweep its jobs are of
_OVERRIDES = ".hydra/overrides.yaml"
UNFINISHED = "did not end by itself: killed with its launcher, or still running"


@dataclass(frozen=True)
class Job:
    """One job."""

    name: str  # its folder below the sweep's, most often its number
    folder: Path
    overrides: list[str]
    options: list[str]  # Hydra's, with which its configs are found
    error: str  # what went wrong in one line; empty if nothing did
    seconds: float | None  # wall time; None where that is not known
    results: dict[str, Any] | None

    @property
    def command(self) -> str:
        """The command that does the same again as a single run."""
        return shlex.join(["python", "run.py", *self.options, *self.overrides])

    @property
    def objective(self) -> float | None:
        """What a tuner was told of it."""
        return objective(self.results) if self.results else None

    @property
    def values(self) -> dict[str, str]:
        """Its settings by key."""
        pairs = [override.lstrip("+~").partition("=") for override in self.overrides]
        return {key: value for key, _, value in pairs}


def sweep_id(sweep: Path) -> str:
    """What tells the sweep that a folder is used for from earlier ones in it; empty where nothing does."""
    return str(read_json(sweep / SWEEP)["id"]) if (sweep / SWEEP).exists() else ""


def write_record(
    folder: Path, overrides: Sequence[str], error: str, seconds: float, sweep: str = "", options: Sequence[str] = ()
) -> None:
    """Writes down how a job of a sweep ended: ``job.json``."""
    asked = {"overrides": list(overrides), "options": list(options), "sweep": sweep}
    write_json(folder / RECORD, {**asked, "error": error, "seconds": round(seconds, 1)})


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs of the sweep that a folder is used for, in the order of their numbers; not those of earlier ones."""
    found = {path.parent for path in sweep.rglob(RECORD)} | {path.parent.parent for path in sweep.rglob(_OVERRIDES)}
    jobs = [_read(folder, folder.relative_to(sweep).as_posix()) for folder in found if _is_of(folder, sweep)]
    # words and numbers in turn, so that two names are compared number with number
    return sorted(jobs, key=lambda job: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", job.name)])


def _is_of(folder: Path, sweep: Path) -> bool:
    """Whether a job's folder is one of the sweep; a job that could not say anything yet is, if it began after it."""
    if (folder / RECORD).exists():
        return read_json(folder / RECORD).get("sweep", "") == sweep_id(sweep)
    began = (sweep / SWEEP).stat().st_mtime if (sweep / SWEEP).exists() else 0.0
    return (folder / _OVERRIDES).stat().st_mtime >= began


def _read(folder: Path, name: str) -> Job:
    results = read_json(folder / RESULTS) if (folder / RESULTS).exists() else None
    if (folder / RECORD).exists():
        record = read_json(folder / RECORD)
        results = None if record["error"] else results  # of an earlier job in the same folder
        options = record.get("options", [])  # a job of an earlier version has none
        return Job(name, folder, record["overrides"], options, record["error"], record["seconds"], results)
    overrides = [str(word) for word in OmegaConf.load(folder / _OVERRIDES)]
    return Job(name, folder, overrides, [], "" if results else UNFINISHED, None, results)
