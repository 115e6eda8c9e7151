"""``stages=[...]`` and ``dry_run=true`` from the command line."""

import json
from pathlib import Path

import pytest

from tests.fault.runs import SMALL, only, run_here

RUN = (*SMALL, "compare=[random_crop]", "seeds=[0,1]", "trainer.students=1")


def rows(out: str) -> dict[str, list[str]]:
    """The cells of a plan's table by stage: done, to run, work, time, disk."""
    lines = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything up to the composition is made, of random crops alone."""
    folder = tmp_path_factory.mktemp("composed")
    ended = run_here(folder, *RUN, "selection=random_crop", "compare=[]", "stages=[composition,teacher]")
    assert ended.code == 0, ended.err
    names = [line.partition(": ")[0] for line in ended.out.splitlines()]
    assert names == ["teacher", "composition", "composition"]
    assert all((folder / line.partition(": ")[2] / "manifest.json").exists() for line in ended.out.splitlines())
    assert {path.name for path in (folder / "store").iterdir()} == {
        "index", "teacher", "test_views", "teacher_check", "selection", "composition"
    }  # fmt: skip
    return folder


def test_a_plan_counts_what_is_there_and_changes_nothing(composed: Path, tmp_path: Path) -> None:
    before = sorted(composed.rglob("*"))
    ended = run_here(composed, *RUN, "dry_run=true")
    assert ended.code == 0, ended.err
    assert sorted(composed.rglob("*")) == before
    found = rows(ended.out)
    assert found["index"][:2] == ["1", ""]
    assert found["selection"][:2] == ["2", "2"]
    assert found["composition"][:2] == ["2", "2"]
    assert found["student"][:3] == ["", "4", "32 steps"]
    assert found["student"][3:5] == ["unknown", "unknown"]  # none was trained in this store
    assert "unknown" not in found["composition"]
    assert "prior: 100 images x 2 draws x 2 conditions = 400 network evaluations" in ended.out
    assert "students: ddselect (seeds 0, 1), random_crop (seeds 0, 1)" in ended.out
    assert "at least" in ended.out


def test_a_plan_of_nothing_finished_knows_counts_and_no_times(tmp_path: Path) -> None:
    ended = run_here(tmp_path, *RUN, "dry_run=true", "trainer=gpu", "scoring.cap=3", "relabel=logits")
    assert ended.code == 0, ended.err
    assert list(tmp_path.iterdir()) == []
    found = rows(ended.out)
    assert found["index"][:4] == ["", "1", "160 images", "unknown"]
    assert "30 images x 2 draws x 2 conditions = 120 network evaluations" in ended.out
    assert found["relabel"][4] != "unknown"  # two bytes for each class and view
    assert "time: unknown; nothing like it was measured in this store" in ended.out


def test_times_and_sizes_are_those_of_finished_stages_of_the_kind(composed: Path) -> None:
    ended = run_here(
        composed, *RUN, "selection=random_crop", "compare=[]", "ipc=4", "dry_run=true", "stages=[composition]"
    )
    written = [json.loads(path.read_text()) for path in composed.glob("store/composition/*/manifest.json")]
    assert rows(ended.out)["composition"][2] == "80 images"
    size = 2 * sum(manifest["bytes"] for manifest in written)
    shown = float(rows(ended.out)["composition"][4].partition(" ")[0])
    assert shown == pytest.approx(size / 1000, rel=0.06)
    again = run_here(composed, *RUN, "selection=random_crop", "compare=[]", "dry_run=true", "stages=[selection]")
    assert "everything is done before" in again.out


def test_a_selection_alone_scores_and_trains_nothing_more(composed: Path) -> None:
    ended = run_here(composed, *RUN, "seeds=[2]", "selection=random_crop", "compare=[]", "stages=[selection]")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("selection: store/selection/")
    assert len(list((composed / "store" / "selection").iterdir())) == 3
    assert not (composed / "store" / "student").exists()
    assert only(composed / "store" / "teacher").is_dir()


@pytest.mark.parametrize(
    ("stage", "made"), [("teacher_crops", ["teacher_crops"]), ("embed", ["teacher_crops", "embed"])]
)
def test_what_only_rivals_read_can_be_made_alone(stage: str, made: list[str], tmp_path: Path) -> None:
    arguments = (*SMALL, "selection=herding", f"stages=[{stage}]")
    assert stage in run_here(tmp_path, *arguments, "dry_run=true").out
    ended = run_here(tmp_path, *arguments)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{stage}: store/{stage}/")
    assert {path.name for path in (tmp_path / "store").iterdir()} == {
        "index", "teacher", "test_views", "teacher_check", *made
    }  # fmt: skip
