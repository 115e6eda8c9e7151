"""A killed run goes on where it was, and ends with exactly what it would have given."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ddselect.scoring.maps import read_image_scores, read_maps
from tests.fault.runs import Ended, Started, only, run_here

pytestmark = pytest.mark.slow

SHARED = {"index", "teacher", "test_views", "teacher_check", "prompt", "prior_check", "scoring", "boxes", "embed"}
STAGES = {*SHARED, "selection", "composition", "quality", "student"}


@dataclass(frozen=True)
class Resumed:
    """A run that was killed twice and then left alone.

    Attributes:
        shards: Shards that were there after the first kill, with their times of writing.
        marks: Number of tests, of 9, that the checkpoint of the second kill has behind it.
        last: The end of the third attempt.
    """

    folder: Path
    shards: dict[Path, int]
    marks: int
    last: Ended


@pytest.fixture(scope="module")
def resumed(longer: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    folder = tmp_path_factory.mktemp("resumed")
    scoring = Started(folder, *longer)
    scoring.wait_for("store/scoring/*/shard-*.parquet")
    assert scoring.end(signal.SIGKILL).code == -signal.SIGKILL
    shards = {path: path.stat().st_mtime_ns for path in folder.glob("store/scoring/*/shard-*.parquet")}
    torn = only(folder / "store" / "scoring") / ".shard-00009-of-00010.parquet.1.tmp"
    torn.write_bytes(b"what a kill in the middle of writing leaves")
    training = Started(folder, *longer)
    checkpoint = training.wait_for("store/student/*/last.ckpt")
    assert training.end(signal.SIGKILL).code == -signal.SIGKILL
    marks = len(torch.load(checkpoint, weights_only=True)["history"])
    return Resumed(folder, shards, marks, run_here(folder, *longer, "hydra.run.dir=run"))


def test_the_kills_fell_in_the_middle(resumed: Resumed) -> None:
    assert 1 <= len(resumed.shards) < 10
    assert 1 <= resumed.marks < 9


def test_the_last_attempt_finishes(resumed: Resumed) -> None:
    assert resumed.last.code == 0, resumed.last.err
    assert "scoring: done before" in resumed.last.err
    assert "student on ddselect, seed 0 ..." in resumed.last.err


def test_scores_equal_those_of_an_undisturbed_run(resumed: Resumed, undisturbed: Path) -> None:
    mine, other = (only(folder / "store" / "scoring") for folder in (resumed.folder, undisturbed))
    assert mine.name == other.name
    assert read_image_scores(mine).equals(read_image_scores(other))
    maps, others = (read_maps(place, None, 0.75) for place in (mine, other))
    assert maps.keys() == others.keys()
    assert all((maps[name] == others[name]).all() for name in maps)


def test_finished_shards_are_not_written_again(resumed: Resumed) -> None:
    assert {path: path.stat().st_mtime_ns for path in resumed.shards} == resumed.shards


def test_training_ends_exactly_as_an_undisturbed_one(resumed: Resumed, undisturbed: Path) -> None:
    mine, other = (only(folder / "store" / "student") for folder in (resumed.folder, undisturbed))
    assert (mine / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert (mine / "student.safetensors").read_bytes() == (other / "student.safetensors").read_bytes()


def test_training_goes_on_from_the_checkpoint(resumed: Resumed) -> None:
    (curve,) = resumed.folder.glob("run/logs/*/metrics.csv")
    assert len(curve.read_text().splitlines()) - 1 == 9 - resumed.marks


def test_a_protocol_of_epochs_goes_on_before_its_first_test(
    longer: tuple[str, ...], undisturbed: Path, tmp_path: Path
) -> None:
    """Of 120 passes of two steps the first 108 have no test; what is kept between is no less exact."""
    chosen = ("protocol=rded", "protocol.epochs=120", "protocol.evaluate_from=0.8", "protocol.evaluations=2")
    rest = [word for word in longer if not word.startswith("protocol.")]
    settings = (*rest, *chosen, "protocol.batch_size=10", "selection=random_crop")
    for name in ("killed", "whole"):
        shutil.copytree(undisturbed / "store", tmp_path / name / "store", ignore=shutil.ignore_patterns("student"))
    killed = Started(tmp_path / "killed", *settings)
    checkpoint = killed.wait_for("store/student/*/last.ckpt")
    assert killed.end(signal.SIGKILL).code == -signal.SIGKILL
    kept = torch.load(checkpoint, weights_only=True)
    assert kept["global_step"] in (72, 144)
    assert len(kept["since_test"]) == kept["global_step"]
    for name in ("killed", "whole"):
        assert run_here(tmp_path / name, *settings).code == 0
    mine, other = (only(tmp_path / name / "store" / "student") for name in ("killed", "whole"))
    assert [json.loads(line)["step"] for line in (mine / "metrics.jsonl").read_text().splitlines()] == [216, 240]
    for name in ("metrics.jsonl", "student.safetensors"):
        assert (mine / name).read_bytes() == (other / name).read_bytes()


def test_nothing_of_the_killed_attempts_is_left(resumed: Resumed) -> None:
    stages = [path.parent for path in resumed.folder.glob("store/*/*/manifest.json")]
    assert {stage.parent.name for stage in stages} == STAGES
    assert len(stages) == len(STAGES)
    left = [path.name for stage in stages for path in stage.rglob("*")]
    assert not [name for name in left if name.endswith((".tmp", ".ckpt")) or name == "spent.json"]


def test_the_same_command_again_skips_every_stage(undisturbed: Path, longer: tuple[str, ...]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "store").rglob("*") if path.is_file()}
    ended = run_here(undisturbed, *longer, "hydra.run.dir=again")
    assert ended.code == 0, ended.err
    assert ended.err.count("done before") == len(STAGES)
    assert " ..." not in ended.err
    assert {path: path.stat().st_mtime_ns for path in (undisturbed / "store").rglob("*") if path.is_file()} == before
    assert _numbers(undisturbed / "again") == _numbers(undisturbed / "run")


def _numbers(folder: Path) -> dict[str, Any]:
    """What a run found, without what tells the runs apart."""
    content = json.loads((folder / "results.json").read_text())
    del content["environment"]
    for entry in content["results"]:
        del entry["reused"]
    return content
