"""A dry run: which stages a run would make, which are there, and what the others cost, as far as that is known."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ddselect.config import Experiment
from ddselect.costs import Experience
from ddselect.evaluation.branch import Trial
from ddselect.evaluation.twins import protocols_for
from ddselect.forecast import forecast
from ddselect.pipeline import Pipeline
from ddselect.report.units import duration, size
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Stage, StageResult, Store
from ddselect.wanted import STAGES

_AT_ONCE = ("losses", "selection", "composition", "quality", "relabel", "student")  # made for several at a time

_SHOWN = 12  # kinds of students that are named


class Outlook(Store):
    """A store in which nothing is computed: an unfinished stage is taken as if it were finished.

    Attributes:
        stages: The stages of a run, in order, by name and fingerprint.
    """

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment.store)
        self.experiment = experiment
        self.stages: dict[tuple[str, str], StageResult] = {}
        self._index: StageResult | None = None

    def run(self, stage: Stage) -> StageResult:
        """A stage that is finished, or what can be told of one that is not."""
        key = stage.name, stage.fingerprint()
        if key not in self.stages:
            facts = {"facts": forecast(self.experiment, stage, self._index)}
            manifest = {**stage.identity(), **facts}
            self.stages[key] = self.find(stage) or StageResult(*key, self._folder(stage), manifest, reused=False)
        if stage.name == "index":
            self._index = self.stages[key]
        return self.stages[key]


@dataclass(frozen=True)
class Row:
    """The stages of one name.

    Attributes:
        missing: Those to make.
        done: How many are there.
        begun: How many of the missing ones were interrupted.
        seconds: Time of the missing ones, one after another; None if it is not known.
        bytes: What they add to the store; None if it is not known.
    """

    name: str
    missing: Sequence[StageResult]
    done: int
    begun: int
    seconds: float | None
    bytes: float | None


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        rows: Its stages by name, in order.
        students: Students to train, as the name of the selection (and protocol and student where there are several) and
            the seed.
        at_once: How many students, with what is made for each alone, would be made at the same time.
    """

    rows: Sequence[Row]
    students: Sequence[tuple[str, int]]
    at_once: int

    @property
    def seconds(self) -> float:
        """Wall time, of those stages of which it is known."""
        return sum((row.seconds or 0) / (self.at_once if row.name in _AT_ONCE else 1) for row in self.rows)

    @property
    def bytes(self) -> float:
        """Bytes that are added to the store, by those stages of which it is known."""
        return sum(row.bytes or 0 for row in self.rows)


def make_plan(experiment: Experiment) -> Plan:
    """Walks through all stages of an experiment without making any.

    Raises:
        UserError: What the run itself would refuse before it starts.
    """
    outlook = Outlook(experiment)
    pipeline = Pipeline(experiment, outlook)
    ground = pipeline.prepare()
    students = []
    for arm, seed, protocol, student in pipeline.trainings() if pipeline.wanted & {"losses", "selection"} else []:
        branch = pipeline.train(pipeline.distil(arm, seed, ground).training_by(protocol, student))
        if "student" in branch.stages and not _is_finished(branch.training):
            students.append((_name(experiment, branch), seed))
    missing = [done for done in outlook.stages.values() if not _is_finished(done)]
    experience = Experience([*outlook.finished(), *missing], experiment.trainer.accelerator)
    rows = []
    for name in STAGES:
        mine = [done for done in outlook.stages.values() if done.name == name]
        todo = [done for done in missing if done.name == name]
        if mine:
            costs = [experience.cost(done) for done in todo]
            seconds = _sum(experience.seconds(cost) if cost else None for cost in costs)
            written = _sum(experience.bytes(cost) if cost else None for cost in costs)
            if written is None and name == "relabel":
                written = _sum(done.facts.get("label_bytes") for done in todo)
            begun = sum(done.folder.exists() for done in todo)
            rows.append(Row(name, todo, len(mine) - len(todo), begun, seconds, written))
    last = "student" if "student" in pipeline.wanted else "selection"
    waiting = sum(len(row.missing) for row in rows if row.name == last)
    at_once = experiment.trainer.students_at_once(waiting)
    return Plan(rows, students, max(1, at_once))


def _name(experiment: Experiment, branch: Trial) -> str:
    protocols = {protocol.name for arm in experiment.arms for protocol in protocols_for(experiment, arm)}
    names = [branch.arm.selection.name]
    names += [branch.protocol.name] if len(protocols) > 1 else []
    return " ".join([*names, *([branch.student.name] if len(experiment.students) > 1 else [])])


def _is_finished(done: StageResult) -> bool:
    return "finished" in done.manifest


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None if a part of it is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def print_plan(experiment: Experiment) -> None:
    """Prints what a run would do on standard output: a line for each kind of stage, then what all of it comes to.

    Raises:
        UserError: As :func:`make_plan`.
    """
    if rank() > 0:
        return
    plan = make_plan(experiment)
    console = Console(highlight=False)
    table = Table(title="dry run: nothing is computed", title_justify="left", header_style="bold")
    for column in ("stage", "done", "to run"):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    table.add_column("work")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("disk", justify="right", no_wrap=True)
    for row in plan.rows:
        cells = [row.name, str(row.done or ""), str(len(row.missing) or "")]
        if row.missing:
            cells += [_work(row), _known(row.seconds, duration), _known(row.bytes, _size)]
        table.add_row(*cells)
    console.print(table)
    todo = [row for row in plan.rows if row.missing]
    if not todo:
        console.print("everything is done before")
        return
    for row in todo:
        if row.name == "scoring":
            console.print(f"prior: {_evaluations(row, experiment)}", soft_wrap=True)
    if plan.students:
        console.print(f"students: {_grouped(plan.students)}", soft_wrap=True)
    no_time, no_size = ([r.name for r in todo if getattr(r, key) is None] for key in ("seconds", "bytes"))
    together = f", {plan.at_once} students at a time" if plan.at_once > 1 else ""
    console.print(_total("time", f"{duration(plan.seconds)}{together}", no_time, len(todo)), soft_wrap=True)
    console.print(
        _total("disk", _size(plan.bytes), no_size, len(todo)) + f"; {_free(experiment.store)}", soft_wrap=True
    )
    console.print("both are scaled from stages of the same kind that are finished in this store", soft_wrap=True)
    if any(row.name == "index" for row in todo):
        console.print(
            "the images are not indexed yet: what was made of equal ones is not counted as done", soft_wrap=True
        )


def _known(amount: float | None, words: Callable[[float], str]) -> str:
    return "unknown" if amount is None else words(amount)


def _size(count: float) -> str:
    return size(round(count))


def _total(what: str, amount: str, unknown: list[str], rows: int) -> str:
    if len(unknown) == rows:
        return f"{what}: unknown; nothing like it was measured in this store"
    return f"{what}: {f'at least {amount}, unknown: ' + ', '.join(unknown) if unknown else f'about {amount}'}"


def _free(store: Path) -> str:
    place = next(folder for folder in [store.absolute(), *store.absolute().parents] if folder.exists())
    return f"{_size(shutil.disk_usage(place).free)} are free"


def _work(row: Row) -> str:
    """What the missing stages of a name have to do."""
    facts = [done.facts for done in row.missing]
    try:
        text = _amount(row.name, facts)
    except KeyError:
        text = "unknown"
    begun = f"{row.begun} begun" if row.begun else ""
    return "; ".join(part for part in (text, begun) if part)


def _evaluations(row: Row, experiment: Experiment) -> str:
    """Network evaluations of the scoring to do, and what makes them so many."""
    draws, conditions = experiment.scoring.draws, experiment.prompt.conditions
    each, facts = experiment.scoring.evaluations(conditions), row.missing[0].facts
    terms = (
        f"{draws} draws x {conditions} condition{'s' * (conditions > 1)}" if draws * conditions == each else str(each)
    )
    if "images" not in facts:
        return f"unknown number of images x {terms}; stages=[index] counts the images"
    return f"{facts['images']:,} images x {terms} = {facts['images'] * each:,} network evaluations"


def _grouped(students: Sequence[tuple[str, int]]) -> str:
    seeds: dict[str, list[int]] = {}
    for name, seed in students:
        seeds.setdefault(name, []).append(seed)
    words = [f"{name} (seed{'s' * (len(of) > 1)} {', '.join(map(str, of))})" for name, of in seeds.items()]
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _amount(name: str, facts: Sequence[Mapping[str, Any]]) -> str:
    if name == "index":
        return f"{sum(facts[0]['images'].values()):,} images"
    if name == "scoring":
        return f"{facts[0]['images'] * facts[0]['network_evaluations_per_image']:,} evaluations"
    if name == "student":
        return f"{sum(each['steps'] for each in facts):,} steps"
    if name in ("latents", "losses", "features", "confidence", "styles", "real", "composition"):
        return f"{sum(each['images'] for each in facts):,} images"
    return ""
