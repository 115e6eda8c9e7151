"""The graph of the stages: which of them each trial needs, in which order, and the one walk that makes them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter

from ddselect.runtime.errors import UserError, choose
from ddselect.runtime.stage import Stage
from ddselect.runtime.store import StageResult, Store, Task
from ddselect.runtime.trial import Trial


class Graph:
    """The stages that are asked for, with all that they need, and nothing beyond.

    Attributes:
        stages: All stages by name.
        order: Names of those that some trial needs, each after what it reads, else as they are listed.
    """

    def __init__(self, stages: Sequence[Stage], asked: Sequence[str], trials: Sequence[Trial]) -> None:
        """The graph of some trials.

        Raises:
            UserError: There is no stage of a name, or no trial has it.
        """
        self.stages = {stage.name: stage for stage in stages}
        for name in asked:
            if name not in self.stages:
                raise UserError(f"stages=[{name}]: no such stage; {choose(name, list(self.stages))}")
            if not any(self.stages[name].exists(trial) for trial in trials):
                raise UserError(f"stages=[{name}]: this run has no such stage; {self.stages[name].advice}")
        self._reads = {trial.names: self._collect(asked, trial) for trial in trials}
        union: dict[str, set[str]] = {}
        for needed in self._reads.values():
            for name, reads in needed.items():
                union.setdefault(name, set()).update(reads)
        sorter, listed, ready = TopologicalSorter(union), list(self.stages), set[str]()
        sorter.prepare()
        self.order: list[str] = []
        while sorter.is_active():
            ready |= {*sorter.get_ready()}
            self.order.append(min(ready, key=listed.index))
            ready.remove(self.order[-1])
            sorter.done(self.order[-1])

    def reads(self, name: str, trial: Trial) -> list[str]:
        """The stages that a stage reads for a trial."""
        names = self.stages[name].reads_for(trial)
        return [name.rstrip("?") for name in names if name[-1] != "?" or self.stages[name.rstrip("?")].exists(trial)]

    def needed(self, trial: Trial) -> dict[str, list[str]]:
        """The stages that a trial needs, with what each reads."""
        return self._reads[trial.names]

    def _collect(self, asked: Sequence[str], trial: Trial) -> dict[str, list[str]]:
        """Those that are asked for, what they read, and what checks these."""
        found: dict[str, list[str]] = {}
        checks = [stage for stage in self.stages.values() if stage.checks and stage.exists(trial)]
        waiting = [name for name in asked if self.stages[name].exists(trial)]
        while waiting:
            if (name := waiting.pop()) not in found:
                found[name] = self.reads(name, trial)
                waiting += found[name] + [stage.name for stage in checks if stage.checks == name]
        return found

    def walk(
        self,
        trials: Sequence[Trial],
        make: Callable[[Task], StageResult | None],
        only: Callable[[Stage], bool] = lambda _: True,
    ) -> None:
        """Goes through the stages in order and makes each for all trials, once for all that it is the same for.

        A trial gets the results in its ``stages``. Where ``make`` gives none, it does not go on to what reads that.

        Args:
            trials: The trials.
            make: Makes a stage, or tells what is known of it.
            only: Which stages are made.
        """
        for name in self.order:
            stage, made = self.stages[name], dict[object, StageResult | None]()
            for trial in trials if stage.run and only(stage) else ():
                reads = self.needed(trial).get(name)
                if reads is None or name in trial.stages or not trial.stages.keys() >= {*reads}:
                    continue
                key: object = tuple(trial.stages[each].fingerprint for each in reads)
                if stage.scope != "run" or key not in made:  # the settings of a run are the same for all trials
                    task = stage.task(trial, reads)
                    key = key if stage.scope == "run" else task.fingerprint()
                    if key not in made:
                        made[key] = make(task)
                if done := made[key]:
                    trial.stages[name] = done

    def first_missing(self, trial: Trial, store: Store) -> Task | None:
        """The first stage of a trial that is not in a store; None if all are there."""
        missing: list[Task] = []

        def look(task: Task) -> StageResult | None:
            found = store.find(task)
            missing.extend([] if found else [task])
            return found

        self.walk([replace(trial, stages=dict(trial.stages))], look)
        return missing[0] if missing else None
