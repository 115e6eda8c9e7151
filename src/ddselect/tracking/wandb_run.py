"""One W&B run for one run here: from its first stage to its exit code."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from ddselect.experiment import Experiment
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.errors import UserError, is_interruption, one_line
from ddselect.runtime.files import read_json, read_text
from ddselect.runtime.progress import listening, note
from ddselect.runtime.store import StageResult, Task
from ddselect.tracking.contents import Finished, Row, artifact_of, contents
from ddselect.tracking.login import wandb_mode
from ddselect.tracking.tables import results_of, stage_table
from ddselect.tracking.tracker import Tracker

_NAME = 128  # characters that W&B takes


@contextmanager
def files_in(folder: Path) -> Iterator[None]:
    """Keeps all of W&B's files in a run folder: it has some in the home folder, which may be full or read-only."""
    own = {name: str(folder.absolute() / "wandb") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")}
    own = {name: place for name, place in own.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


@contextmanager
def wandb_run(experiment: Experiment, folder: Path) -> Iterator[Tracker]:
    """A tracker with a W&B run of its own, which ends with the exit code of this one.

    Its group and job type are those of W&B's environment variables, which the jobs of a sweep get. The resolved
    config and the environment become the run's config; the run folder takes W&B's files.

    Raises:
        UserError: W&B cannot start.
    """
    settings, environment = experiment.logger, capture_environment()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=settings.project,
            entity=settings.entity or None,
            name=_name(experiment, environment),
            mode=wandb_mode(settings.mode),
            dir=folder,
            config={**experiment.config, "environment": environment},
            settings=wandb.Settings(silent=True),
        )
    except wandb.Error as error:
        raise UserError(
            f"logger=wandb: {one_line(error)}; log in with `wandb login` or set logger.mode=offline"
        ) from None
    note(f"W&B: offline, wandb sync {Path(run.dir).parent}" if run.offline else f"W&B: {run.url}")
    tracker, code = WandbTracker(run, experiment), 1
    try:
        with listening(tracker.progressed):
            yield tracker
        code = 0
    except BaseException as error:
        code = 130 if is_interruption(error) else 2 if isinstance(error, UserError) else 1
        raise
    finally:
        try:
            tracker.close()
        finally:
            run.finish(code)


def _name(experiment: Experiment, environment: Mapping[str, Any]) -> str:
    """What the command line changes, or what is distilled if it changes nothing."""
    changed = [word for word in environment["command"] if not word.startswith(("logger", "hydra."))]
    return (" ".join(changed) or experiment.dataset.name)[:_NAME]


class WandbTracker(Tracker):
    """Logs every finished stage once, whether it was computed or done before."""

    def __init__(self, run: wandb.Run, experiment: Experiment) -> None:
        self._run, self._experiment = run, experiment
        self._place = ""
        self._told: dict[str, tuple[Task, StageResult]] = {}  # by fingerprint
        self._made_from: dict[str, dict[str, str]] = {}  # by fingerprint: those of all stages before, by name

    def started(self, stage: Task) -> None:
        self._place = _place(stage)

    def progressed(self, unit: str, done: int, rate: float) -> None:
        """The stage that is computed has finished so many units, at a rate per second."""
        place = f"{self._place}/progress/{unit}"
        self._run.log({place: done, f"{place}_per_second": rate})

    def finished(self, stage: Task, done: StageResult) -> None:
        if done.fingerprint in self._told:
            return
        self._told[done.fingerprint] = stage, done
        before = {name: key for one in stage.after for name, key in self._made_from.get(one.fingerprint, {}).items()}
        before |= {one.name: one.fingerprint for one in stage.after}
        self._made_from[done.fingerprint] = before
        finished = Finished(stage, done, self._experiment)
        for row in contents(finished):
            self._log(stage, row)
        took = {"fingerprint": done.fingerprint, "cached": done.reused, "seconds": done.seconds, "bytes": done.bytes}
        place = _place(stage)
        self._run.summary.update({f"{place}/{name}": value for name, value in {**_scalars(done.facts), **took}.items()})
        artifact = artifact_of(finished, before)
        if artifact:
            self._run.log_artifact(artifact, aliases=[done.fingerprint])

    def reported(self, results: Path) -> None:
        found = read_json(results)
        page = wandb.Html(read_text(results.with_name("report.html")), inject=False)
        self._run.log({f"results/{name}": value for name, value in {**results_of(found), "report": page}.items()})
        best = _scalars(
            {"teacher": found["teacher"], "prior": found["prior"], "localisation": found["localisation"] or {}}
        )
        self._run.summary.update({f"results/{name}": value for name, value in best.items()})

    def close(self) -> None:
        """Logs what the stages took."""
        self._run.log({"stages": stage_table(list(self._told.values()))})

    def _log(self, stage: Task, row: Row) -> None:
        """Logs a row under the stage's place; a ``step`` is the horizontal axis that all stages of its name share."""
        place, axis = _place(stage), f"{stage.name}/step"
        keys = {name: axis if name == "step" else f"{place}/{name}" for name in row}
        if "step" in row:
            for name in keys.values():
                if name != axis:
                    self._run.define_metric(name, step_metric=axis)
        self._run.log({keys[name]: value for name, value in row.items()})


def _place(stage: Task) -> str:
    return f"{stage.name}/{stage.label}".rstrip("/")


def _scalars(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The single values among facts, those within others under both names."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": single for inner, single in _scalars(value).items()}
        elif isinstance(value, bool | int | float | str):
            found[name] = value
    return found
