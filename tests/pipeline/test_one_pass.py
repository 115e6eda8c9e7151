"""What is asked of the network and of the images: the prior once, whatever is chosen after it; each image twice."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset import index as indexing
from ddselect.options import options
from ddselect.stages.dry_run import DryRunStore, is_finished
from tests.config.test_stages import experiment_of, graph_of
from tests.fault.runs import SMALL, run_here

ALONE = (*SMALL, "trainer.students=1")
BEHIND = ("boxes", "selection", "composition", "relabel", "student", "protocol", "evaluation", "report", "logger")
OTHER = (
    *(f"{group}={option}" for group in BEHIND for option in options(group) if option != "given"),
    *("embed=teacher", "embed=timm", "ipc=1", "seeds=[3,4]", "evaluation.split=val", "evaluation.quality=false"),
    *("boxes.sizes=[0.375]", "boxes.sizes=[0.625]", "boxes.sigma=0", "boxes.overlap=0.2", "boxes.per_image=2"),
    *("boxes.prediction_shift_weight=0", "selection.teacher_weight=0", "trainer.threads=1", "teacher.check=false"),
    *("scoring.batch_size=7", "scoring.workers=1", "embed.batch_size=8", "compare=[rded,random_image,all]"),
)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a default run has made its selection."""
    folder = tmp_path_factory.mktemp("scored")
    ended = run_here(folder, *ALONE, "stages=[selection]")
    assert ended.code == 0, ended.err
    return folder


@pytest.mark.parametrize("choice", OTHER)
def test_no_choice_behind_scoring_asks_the_prior_again(choice: str, scored: Path) -> None:
    own = [word for word in SMALL if not (choice.startswith("protocol=") and word.startswith("protocol."))]
    graph, trials = graph_of(experiment_of(*own, choice))
    store = DryRunStore(scored / "store")
    graph.walk(trials, store.run)
    asked = {name: done for (name, _), done in store.stages.items() if name in ("backbone", "prompt", "scoring")}
    assert all(is_finished(done) for done in asked.values()), [n for n, d in asked.items() if not is_finished(d)]


def test_a_choice_in_front_of_it_does(scored: Path) -> None:
    graph, trials = graph_of(experiment_of(*SMALL, "scoring.seed=1"))
    store = DryRunStore(scored / "store")
    graph.walk(trials, store.run)
    (scoring,) = [done for (name, _), done in store.stages.items() if name == "scoring"]
    assert scoring.facts["evaluations"] == 100 * 2 * 2


@pytest.mark.parametrize("choice", ["evaluation.split=val", "protocol.test_margin=1.25", "teacher.check=false"])
def test_a_teacher_is_what_it_is_wherever_it_is_checked(choice: str, scored: Path) -> None:
    graph, trials = graph_of(experiment_of(*SMALL, choice))
    store = DryRunStore(scored / "store")
    graph.walk(trials, store.run)
    assert {name: is_finished(done) for (name, _), done in store.stages.items() if name.startswith("teacher")} == {
        "teacher": True,
        "teacher_check": False,
    }


@pytest.mark.slow
def test_other_boxes_need_no_network(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    direct = Denoiser.error

    def error(self: Denoiser, *arguments: Any) -> Any:
        calls.append(1)
        return direct(self, *arguments)

    monkeypatch.setattr(Denoiser, "error", error)
    for size in ("0.375", "0.625"):
        assert run_here(scored, *ALONE, "stages=[selection]", f"boxes.sizes=[{size}]").code == 0
    assert not calls
    assert run_here(scored, *ALONE, "stages=[scoring]", "scoring.seed=1").code == 0
    assert calls


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each image was decoded."""
    found: Counter[str] = Counter()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def read(source: Any, *arguments: Any) -> Any:
            found[str(source.path)] += 1
            return function(source, *arguments)

        return read

    monkeypatch.setattr(indexing, "decode_image", counted(indexing.decode_image))
    monkeypatch.setattr(indexing, "read_image", counted(indexing.read_image))
    return found


@pytest.mark.slow
def test_a_training_image_is_decoded_twice(tmp_path: Path, decoded: Counter[str]) -> None:
    """For scoring and for embedding; beside that those that are picked, when they are cut out."""
    assert run_here(tmp_path, *ALONE, "stages=[index,teacher]").code == 0
    decoded.clear()
    assert run_here(tmp_path, *ALONE, "stages=[selection]").code == 0
    training = {path: times for path, times in decoded.items() if "/train/" in path}
    assert len(training) == 100
    assert set(training.values()) == {2}
    decoded.clear()
    assert run_here(tmp_path, *ALONE, "report.maps_per_class=0").code == 0
    training = {path: times for path, times in decoded.items() if "/train/" in path}
    assert len(training) <= 80  # of 2 images of 2 x 2 crops for each of ten classes
    assert set(training.values()) == {1}
