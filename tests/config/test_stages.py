"""Which stages are made for those that are named, what each reads, and that nothing is made that nothing reads."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ddselect.config import build_experiment
from ddselect.evaluation.twins import protocols_for
from ddselect.experiment import Experiment
from ddselect.options import options
from ddselect.pipeline import STAGES
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import StageResult, Task
from ddselect.runtime.trial import Trial
from ddselect.schema import GROUPS
from ddselect.stages.dry_run import DryRunStore
from ddselect.stages.graph import Graph
from tests.helpers.configs import composed

CHECKED = {"index", "teacher", "test_views", "teacher_check"}
SCORES = {"index", "prompt", "prior_check", "scoring"}
EMBEDDED = {*SCORES, *CHECKED, "boxes", "embed"}
SELECTED = {*EMBEDDED, "selection"}


def experiment_of(*overrides: str, compare: Sequence[str] = ()) -> Experiment:
    config = composed(*overrides).copy()
    config.compare = list(compare)
    return build_experiment(config)


def graph_of(e: Experiment) -> tuple[Graph, list[Trial]]:
    """As of a run, but without a look at the dataset."""
    trials = [
        Trial(e, method, seed, protocol, student)
        for method in e.methods
        for seed in e.seeds
        for protocol in protocols_for(e, method)
        for student in e.students
    ]
    return Graph(STAGES, e.stages, trials), trials


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["stages=[index]"], {"index"}),
        (["stages=[teacher]"], CHECKED),
        (["stages=[scoring]"], SCORES),
        (["stages=[scoring]", "scoring.keep_latents=true"], {*SCORES, "latents"}),
        (["stages=[scoring]", "pool=mixed"], {*SCORES, "pool"}),
        (["stages=[scoring]", "backbone/adapt=full"], {*SCORES, "backbone"}),
        (["stages=[scoring]", "selection=random_image"], SCORES),
        (["stages=[boxes]"], {*SCORES, "boxes"}),
        (["stages=[boxes]", "boxes=scales", "selection=rded"], {*SCORES, "boxes"}),
        (["stages=[embed]"], EMBEDDED),
        (["stages=[embed]", "selection=herding"], {*CHECKED, "teacher_crops", "embed"}),
        (
            ["stages=[embed]", "embed=backbone", "selection=herding", "evaluation.quality=false"],
            {*CHECKED, "teacher_crops", "prompt", "embed"},
        ),
        (["stages=[embed]", "selection=bps"], {*CHECKED, "embed"}),
        (
            ["stages=[selection]", "selection=bps", "embed=timm", "evaluation.quality=false"],
            {*CHECKED, "embed", "selection"},
        ),
        (["stages=[pilot]"], {"index", "prompt", "pilot"}),
        (["stages=[selection]"], SELECTED),
        (["stages=[selection]", "selection=diffusion"], SELECTED),
        (
            ["stages=[selection]", "selection.teacher_weight=0", "evaluation.quality=false"],
            SELECTED - {"teacher", "test_views", "teacher_check"},
        ),
        (["stages=[selection]", "selection=top_score"], {*SCORES, "boxes", "selection"}),
        (["stages=[selection]", "selection=random_crop"], {"index", "selection"}),
        (["stages=[selection]", "selection=random_crop", "pool=generated"], {"index", "prompt", "pool", "selection"}),
        (["stages=[selection]", "selection=rded"], {*CHECKED, "teacher_crops", "selection"}),
        (["stages=[relabel]", "relabel=logits"], {*SELECTED, "composition", "relabel"}),
        (["stages=[student]"], {*SELECTED, "composition", "student"}),
        ([], {*SELECTED, "composition", "quality", "student", "report"}),
        (["evaluation.quality=false"], {*SELECTED, "composition", "student", "report"}),
        (["selection=all"], {*CHECKED, "selection", "composition", "student", "report"}),
        (["selection=given"], {*CHECKED, "embed", "composition", "given_check", "quality", "student", "report"}),
        (
            ["selection=given", "protocol=digits_hard", "evaluation.quality=false"],
            {"index", "test_views", "composition", "student", "report"},
        ),
        (
            ["selection=random_image", "protocol=digits_hard", "evaluation.quality=false"],
            {"index", "test_views", "selection", "composition", "student", "report"},
        ),
    ],
)
def test_what_is_needed_is_made_and_nothing_beyond(overrides: list[str], found: set[str]) -> None:
    graph, _ = graph_of(experiment_of(*overrides))
    assert set(graph.order) == found


def embeddings(tmp_path: Path, selection: str, *compare: str) -> dict[str, str]:
    """The fingerprint of each arm's embedding, as a dry run has it."""
    graph, trials = graph_of(experiment_of(f"selection={selection}", compare=compare))
    graph.walk(trials, DryRunStore(tmp_path).run)
    return {trial.names[0]: trial.stages["embed"].fingerprint for trial in trials}


def test_entropies_are_embedded_for_those_alone_who_read_them(tmp_path: Path) -> None:
    """The other arms of a run keep their embeddings; those of whole images alone share one."""
    before, after = embeddings(tmp_path, "ddselect", "herding"), embeddings(tmp_path, "ddselect", "herding", "bps")
    assert before.items() <= after.items()
    assert len(set(after.values())) == 3
    alone, shared = embeddings(tmp_path, "random_image"), embeddings(tmp_path, "random_image", "bps")
    assert shared["random_image"] == shared["bps"] == after["bps"] != alone["random_image"]


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("latents", "set scoring.keep_latents=true"),
        ("teacher_crops", "choose a selection like rded"),
        ("quality", "evaluation.quality=true"),
        ("scorng", "no such stage; did you mean scoring"),
    ],
)
def test_a_stage_that_a_run_has_not_is_refused(stage: str, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        graph_of(experiment_of(f"stages=[{stage}]", "evaluation.quality=false"))


SEE_FILES = ("dataset", "backbone", "teacher", "trainer")  # their keys look at files or devices
EVERY_OPTION = [(group, option) for group in GROUPS if group != "dataset" for option in options(group)]


@pytest.mark.parametrize(("group", "option"), EVERY_OPTION, ids=lambda value: str(value))
def test_every_stage_has_what_it_reads_and_is_read(group: str, option: str, tmp_path: Path) -> None:
    """For every option: the results that a stage is given are those that it declares, and somebody reads its own."""
    graph, trials = graph_of(experiment_of(f"{group}={option}", compare=["rded", "random_image", "all"]))
    order = {name: place for place, name in enumerate(graph.order)}
    for trial in trials:
        read = graph.needed(trial)
        assert all(order[before] < order[name] for name, reads in read.items() for before in reads)
        checks = {stage.name for stage in STAGES if stage.checks in read}
        assert read.keys() - {before for reads in read.values() for before in reads} - checks == {"report"}


@pytest.mark.parametrize(
    "group", [name for name in GROUPS if name not in ("dataset", "backbone", "teacher", "trainer")]
)
def test_a_task_comes_after_what_its_stage_declares(group: str, tmp_path: Path) -> None:
    seen: list[Task] = []

    class Watched(DryRunStore):
        def run(self, task: Task) -> StageResult:
            seen.append(task)
            return super().run(task)

    torch.save({"images": torch.zeros(10, 3, 8, 8), "labels": torch.arange(10)}, tmp_path / "set.pt")
    for option in options(group):
        more = [f"selection.root={tmp_path}/set.pt"] if option == "given" else []
        graph, trials = graph_of(experiment_of(f"{group}={option}", *more))
        seen.clear()
        graph.walk(trials, Watched(tmp_path).run)
        declared = {name: reads for trial in trials for name, reads in graph.needed(trial).items()}
        assert {task.name for task in seen} == set(graph.order) - {"report"}
        for task in seen:
            assert [done.name for done in task.after] == list(declared[task.name])
