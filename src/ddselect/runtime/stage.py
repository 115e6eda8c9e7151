"""What a stage is: everything there is to know about it stands in one place."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ddselect.runtime.store import Task
from ddselect.runtime.trial import Facts, Trial

Cost = tuple[object, float, float]  # what makes two stages comparable, what their time and what their bytes grow with


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
        scope: Whom one result serves: the whole ``run``, a ``protocol``, a ``seed``, a ``method`` (with its seed) or a
            ``student``. All but the first two can be made for several trials at the same time.
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
