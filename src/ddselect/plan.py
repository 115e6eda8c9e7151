"""A dry run: prints which stages a run would make, which are there, and what the others cost, as far as it is known."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.table import Table

from ddselect.checks import check_ipc
from ddselect.experiment import Experiment
from ddselect.pipeline import graph_of
from ddselect.report.units import duration, size
from ddselect.runtime.progress import console_on
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import StageResult
from ddselect.runtime.trial import Trial
from ddselect.stages.dry_run import CostModel, DryRunStore, is_finished
from ddselect.stages.graph import Graph

_SHOWN = 12  # kinds of students that are named


def print_plan(experiment: Experiment) -> None:
    """Prints what a run would do on standard output: a line for each kind of stage, then what all of it comes to.

    Raises:
        UserError: What the run itself would refuse before it starts.
    """
    if rank() > 0:
        return
    graph, trials = graph_of(experiment, None)
    store = DryRunStore(experiment.store)
    graph.walk(trials, store.run)
    for trial in trials if "composition" in graph.order else ():
        check_ipc(trial)
    missing = [done for done in store.stages.values() if not is_finished(done)]
    costs = CostModel(graph.stages, [*store.finished(), *missing], experiment.trainer.accelerator)
    at_once = max(1, experiment.trainer.students_at_once(_waiting(graph, missing)))
    table = Table(title="dry run: nothing is computed", title_justify="left", header_style="bold")
    for column in ("stage", "done", "to run", "work", "time", "disk"):
        table.add_column(column, justify="left" if column in ("stage", "work") else "right", no_wrap=column != "work")
    seconds, written = dict[str, float | None](), dict[str, float | None]()
    for name in graph.order:
        if not (mine := [done for done in store.stages.values() if done.name == name]):
            continue
        todo = [done for done in mine if not is_finished(done)]
        cells = [name, str(len(mine) - len(todo) or ""), str(len(todo) or "")]
        if todo:
            time, written[name] = (_sum(part) for part in zip(*map(costs.forecast, todo), strict=True))
            seconds[name] = time and time / (1 if graph.stages[name].scope in ("run", "protocol") else at_once)
            if written[name] is None:
                written[name] = _sum(done.facts.get("label_bytes") for done in todo)
            cells += [_work(graph, name, todo), *_words(time, written[name])]
        table.add_row(*cells)
    console = console_on()
    console.print(table)
    if not seconds:
        console.print("everything is done before")
        return
    together = f", {at_once} students at a time" if at_once > 1 else ""
    for line in (
        *([_evaluations(experiment, done) for done in missing if done.name == "scoring"]),
        *([f"students: {students}"] if (students := _students(trials)) else []),
        _total("time", seconds, duration) + together,
        f"{_total('disk', written, size)}; {_free(experiment.store)}",
        "both are scaled from stages of the same kind that are finished in this store",
        *(
            ["the images are not indexed yet: what was made of equal ones does not count as done"]
            * ("index" in seconds)
        ),
    ):
        console.print(line, soft_wrap=True)


def _waiting(graph: Graph, missing: list[StageResult]) -> int:
    """How many trials wait for the last of their stages."""
    last = next((name for name in reversed(graph.order) if graph.stages[name].scope in ("method", "student")), "")
    return sum(done.name == last for done in missing)


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None if a part of it is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _work(graph: Graph, name: str, todo: list[StageResult]) -> str:
    """What the missing stages of a name have to do."""
    unit, begun = graph.stages[name].unit, sum(done.folder.exists() for done in todo)
    counts = [done.facts.get(unit) for done in todo]
    text = "unknown" if None in counts else f"{sum(map(_count, counts)):,} {unit}"
    return "; ".join([*([text] if unit else []), *([f"{begun} begun"] if begun else [])])


def _count(fact: object) -> int:
    """A count, or that of all splits."""
    return sum(fact.values()) if isinstance(fact, dict) else int(str(fact))


def _words(seconds: float | None, written: float | None) -> list[str]:
    return ["unknown" if seconds is None else duration(seconds), "unknown" if written is None else size(written)]


def _total(what: str, amounts: dict[str, float | None], words: Callable[[float], str]) -> str:
    unknown = [name for name, amount in amounts.items() if amount is None]
    if len(unknown) == len(amounts):
        return f"{what}: unknown; nothing like it was measured in this store"
    amount = words(sum(amount or 0 for amount in amounts.values()))
    return f"{what}: {f'at least {amount}, unknown: ' + ', '.join(unknown) if unknown else f'about {amount}'}"


def _free(store: Path) -> str:
    place = next(folder for folder in [store.absolute(), *store.absolute().parents] if folder.exists())
    return f"{size(shutil.disk_usage(place).free)} are free"


def _evaluations(experiment: Experiment, scoring: StageResult) -> str:
    """Network evaluations of the scoring to do, and what makes them so many."""
    draws, conditions = experiment.scoring.draws, experiment.prompt.conditions
    terms = f"{draws} draws x {conditions} condition{'s' * (conditions > 1)}"
    if "images" not in scoring.facts:
        return f"prior: unknown number of images x {terms}; stages=[index] counts the images"
    images, each = scoring.facts["images"], experiment.scoring.evaluations(conditions)
    return f"prior: {images:,} images x {terms} = {images * each:,} network evaluations"


def _students(trials: list[Trial]) -> str:
    """The students to train with their seeds, named by what tells them apart."""
    several = [len({trial.names[place] for trial in trials}) > 1 for place in range(4)]
    seeds: dict[str, list[int]] = {}
    for trial in trials:
        if "student" in trial.stages and not is_finished(trial.stages["student"]):
            selection, _, protocol, student = trial.names
            name = " ".join([selection, *[protocol] * several[2], *[student] * several[3]])
            seeds.setdefault(name, []).append(trial.seed)
    words = [f"{name} (seed{'s' * (len(of) > 1)} {', '.join(map(str, of))})" for name, of in seeds.items()]
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
