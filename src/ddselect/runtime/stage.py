"""What a stage is, and the trial that it is made for: everything there is to know about a stage stands in one place."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ddselect.runtime.store import StageResult, Task

Facts = Mapping[str, Any]
Cost = tuple[object, float, float]  # what makes two stages comparable, what their time and what their bytes grow with


@dataclass(frozen=True)
class Trial:
    """One selection, seed, protocol and student, with the stages that are finished for it.

    Attributes:
        experiment: What the run does (:class:`ddselect.config.Experiment`).
        method: Selection and composition (:class:`ddselect.config.MethodConfig`).
        seed: Seed of the selection and the student.
        protocol: How the distilled set trains.
        student: Whom it trains.
        run_folder: Folder of the run, for training curves.
        stages: Finished stages by name, in order.
    """

    experiment: Any
    method: Any
    seed: int
    protocol: Any
    student: Any
    run_folder: Path | None = None
    stages: dict[str, StageResult] = field(default_factory=dict)

    @property
    def training(self) -> StageResult:
        """The student's stage, once it is trained."""
        return self.stages["student"]

    @property
    def images(self) -> StageResult:
        """The index of the images that are selected from."""
        return self.stages.get("pool", self.stages["index"])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.stages["index"].facts["classes"])

    @property
    def ipc(self) -> int | None:
        """Images per class; None for all."""
        return self.experiment.ipc if self.method.selection.limit else None

    @property
    def view(self) -> int:
        """Side in pixels of the square view that is composed and trained on."""
        return int(self.experiment.dataset.image_size)

    @property
    def names(self) -> tuple[str, int, str, str]:
        """Selection, seed, protocol and student: what tells it from the others of its run."""
        return self.method.selection.name, self.seed, self.protocol.name, self.student.name

    @property
    def not_chosen(self) -> list[str]:
        """Names of its student and protocol where they are not the run's first."""
        e = self.experiment
        pairs = ((self.student.name, e.students[0].name), (self.protocol.name, e.protocols[0].name))
        return [name for name, chosen in pairs if name != chosen]

    @property
    def distilled(self) -> str:
        """What to call its distilled set."""
        return f"{self.method.selection.name}, seed {self.seed}"

    @property
    def name(self) -> str:
        """What to call it: by its student and protocol only where these are not the run's first."""
        return ", ".join([self.distilled, *self.not_chosen])

    def label(self, scope: str) -> str:
        """The same for folders and metrics: what tells results of a scope from others of their stage in a run."""
        parts = [f"{self.method.selection.name}-seed{self.seed}", *self.not_chosen]
        return {"run": "", "seed": f"seed{self.seed}", "method": parts[0], "student": "-".join(parts)}[scope]


@dataclass(frozen=True)
class Stage:
    """A stage of a run; declared once, in ``<package>/stage.py``.

    All functions see a trial with the stages that it reads, and no others.

    Attributes:
        name: Its name.
        version: Rises whenever the same settings give another result.
        reads: Stages that it reads; with a question mark those that it reads where a trial has them. A function where
            that depends on the trial otherwise.
        key: The settings that decide its result, and nothing else.
        run: ``module:function``, imported when it runs: it gets the trial and the stage's folder and returns facts.
        exists: Whether a trial can have it.
        advice: What to do to have it.
        checks: A stage that this one checks: it is made wherever that one is.
        scope: Whom one result serves: the whole ``run``, a ``seed``, a ``method`` (with its seed) or a ``student``. All
            but the first can be made for several trials at the same time.
        together: Whether all ranks make it together.
        title: What it is called while it runs.
        expects: Facts that are known before it runs, by the names that it gives them itself.
        cost: From its settings and facts: what makes it comparable to others, what its time and its bytes grow with.
        unit: The fact that says how much work it is.
        on_processor: Whether it takes the same time whatever the accelerator.
    """

    name: str
    version: int
    reads: Sequence[str] | Callable[[Trial], Sequence[str]]
    key: Callable[[Trial], Mapping[str, object]]
    run: str
    exists: Callable[[Trial], bool] = lambda _: True
    advice: str = ""
    checks: str = ""
    scope: str = "run"
    together: Callable[[Trial], bool] = lambda _: False
    title: Callable[[Trial], str] | None = None
    expects: Callable[[Trial], Facts] = lambda _: {}
    cost: Callable[[Facts, Facts], Cost] = lambda *_: ([], 1, 1)
    unit: str = ""
    on_processor: bool = False

    def reads_for(self, trial: Trial) -> Sequence[str]:
        """What it reads for a trial, question marks and all."""
        return self.reads(trial) if callable(self.reads) else self.reads

    def task(self, trial: Trial, reads: Sequence[str]) -> Task:
        """The stage for a trial that has the stages ``reads``, ready to be run."""
        trial = replace(trial, stages={name: trial.stages[name] for name in reads})
        return Task(
            name=self.name,
            version=self.version,
            config=self.key(trial),
            after=list(trial.stages.values()),
            build=partial(self._run, trial),
            title=self.title(trial) if self.title else self.name.replace("_", " "),
            together=self.together(trial),
            label=trial.label(self.scope),
            expects=partial(self.expects, trial),
        )

    def _run(self, trial: Trial, folder: Path) -> Facts | None:
        module, _, function = self.run.partition(":")
        found: Facts | None = getattr(importlib.import_module(module), function)(trial, folder)
        return found
