"""The story of a run: its stages, its trials, and the walk through both. The file to read first."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ddselect.backbone.stage import BACKBONE
from ddselect.boxes.stage import BOXES
from ddselect.checks import check_ipc, check_networks
from ddselect.composition.stage import COMPOSITION
from ddselect.dataset.index import index_summary
from ddselect.dataset.stage import INDEX
from ddselect.embed.stage import EMBED
from ddselect.evaluation.stage import GIVEN_CHECK, QUALITY, TEACHER_CHECK, TEST_VIEWS
from ddselect.evaluation.twins import protocols_for
from ddselect.experiment import Experiment
from ddselect.pilot.stage import PILOT
from ddselect.plugins import packages, stages_of
from ddselect.pool.stage import POOL
from ddselect.prompt.stage import PROMPT
from ddselect.relabel.stage import RELABEL
from ddselect.report.stage import REPORT
from ddselect.report.table import print_pilot
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank, run_name
from ddselect.runtime.store import Store
from ddselect.runtime.trial import Trial
from ddselect.scoring.stage import LATENTS, PRIOR_CHECK, SCORING
from ddselect.selection.stage import SELECTION, TEACHER_CROPS
from ddselect.stages.graph import Graph
from ddselect.teacher.stage import TEACHER
from ddselect.tracking.tracker import tracking
from ddselect.training.stage import STUDENT
from ddselect.workers import Named, train_in_processes

STAGES = (
    INDEX,  # every readable image of the dataset
    TEACHER,  # the network that labels
    TEST_VIEWS,  # the test images, decoded once for all that is tested
    TEACHER_CHECK,  # its accuracy on real images, before anything expensive
    BACKBONE,  # the prior adapted to the dataset
    PROMPT,  # what the prior is told about each class
    PRIOR_CHECK,  # how often it finds the class of a real image, before anything expensive
    POOL,  # images that the prior makes
    LATENTS,  # the prior's latents, kept for every later scoring
    PILOT,  # how many draws the prior needs here
    SCORING,  # difference maps: the only stage in which the prior sees the images
    BOXES,  # candidate crops, from the maps
    TEACHER_CROPS,  # random crops judged by the teacher, for RDED and the coresets
    EMBED,  # features, teacher losses and channel statistics of every candidate
    SELECTION,  # the order of every class's crops and whole images
    COMPOSITION,  # distilled images
    GIVEN_CHECK,  # whether the teacher agrees with a distilled set that others made
    QUALITY,  # how they lie among the real ones
    RELABEL,  # the teacher's labels on every view, if they are stored
    STUDENT,  # a student of the distilled set, tested on real images
    REPORT,  # results.json and report.html in the run folder
)

_FIRST = ("teacher", "test_views", "teacher_check", "composition", "given_check")  # before anything expensive


def run(experiment: Experiment, folder: Path) -> list[tuple[str, Path]]:
    """Runs an experiment and returns what it came to: the path of its ``results.json`` as ("results", path).

    Where the report is not asked for, it returns the name and folder of every stage that is. The ranks that only help
    return nothing.

    Raises:
        UserError: Something is missing or wrong that the user can mend.
    """
    trials = make(experiment, folder)
    if trials and "report" in experiment.stages:
        return [("results", folder / "results.json")]
    names = dict.fromkeys(name for trial in trials for name in trial.stages if name in experiment.stages)
    asked_for = (trial.stages[name] for name in names for trial in trials if name in trial.stages)
    made = {done.folder: done for done in asked_for}
    for done in made.values():
        if done.name == "pilot":
            print_pilot(done.facts)
        if done.name == "index":
            print("\n".join(index_summary(done.facts)), flush=True)
    return [(done.name, place) for place, done in made.items()]


def make(experiment: Experiment, folder: Path) -> list[Trial]:
    """Makes the stages that an experiment asks for, with all that they need: its trials, which have them.

    Stages write to the store and read from it; only results, report and curves lie in the run's own folder. The ranks
    that only help get no trials.

    Raises:
        UserError: As :func:`run`.
    """
    graph, trials = graph_of(experiment, folder)
    with tracking(experiment, folder) as tracker:
        store = Store(experiment.store, run_name(folder), tracker)
        graph.walk(trials, store.run, lambda stage: stage is INDEX)
        for trial in trials if "composition" in graph.order else ():
            check_ipc(trial)
        graph.walk(trials, store.run, lambda stage: stage.name in _FIRST)  # of compositions, those of given sets alone
        graph.walk(trials, store.run, lambda stage: stage.scope == "run")
        if rank() > 0 and not (experiment.trainer.together and "student" in graph.order):
            return []
        _go_at_the_same_time(experiment, graph, trials, store, folder)
        graph.walk(trials, store.run)
        if rank() == 0 and "report" in graph.order:
            from ddselect.report.run import write

            tracker.reported(write(trials, folder))
    return trials if rank() == 0 else []


def run_trials(experiment: Experiment, names: Sequence[Named], folder: Path) -> None:
    """What a worker does: all the stages of some trials."""
    graph, trials = graph_of(experiment, folder)
    graph.walk([trial for trial in trials if trial.names in names], Store(experiment.store, run_name(folder)).run)


def graph_of(experiment: Experiment, folder: Path | None) -> tuple[Graph, list[Trial]]:
    """The stages that an experiment asks for and its trials: every selection, seed, protocol and student.

    Raises:
        UserError: There is no such stage, or a network or prior will not do; told before any work.
    """
    e = experiment
    trials = [
        Trial(e, method, seed, protocol, student, folder)
        for method, seed in product(e.methods, e.seeds)
        for protocol, student in product(protocols_for(e, method), e.students)
    ]
    graph = Graph(stages_of(packages(e.plugins), STAGES), e.stages, trials)
    if "composition" in graph.order:
        for method in e.methods:
            method.selection.check(e.dataset)
    check_networks(trials[0], graph.order)
    return graph, trials


def _go_at_the_same_time(e: Experiment, graph: Graph, trials: list[Trial], store: Store, folder: Path) -> None:
    """Distils and trains what is missing in processes of their own, where there is room for more than one.

    Trials that lack the same stage wait for the first of them to make it.
    """
    waiting = [] if e.trainer.together else trials
    while True:
        missing = [(trial, task) for trial in waiting if (task := graph.first_missing(trial, store))]
        first = {task.fingerprint(): trial for trial, task in reversed(missing)}
        now = [trial for trial, task in missing if first[task.fingerprint()] is trial]
        if e.trainer.students_at_once(len(missing)) < 2:
            return
        at_once = e.trainer.students_at_once(len(now))
        what = "selections with their students" if "student" in graph.order else "selections"
        note(f"{len(now)} {what}, {at_once} at a time ...")
        train_in_processes(e, [trial.names for trial in now], folder, at_once)
        waiting = [trial for trial, _ in missing if trial not in now]
