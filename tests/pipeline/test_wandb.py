"""What Weights & Biases gets of a run, read back from the file that an offline one leaves."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from hydra import compose, initialize_config_dir

from ddselect import pipeline
from ddselect.config import build_experiment
from ddselect.experiment import Experiment
from ddselect.options import conf_dir
from ddselect.pipeline import run
from ddselect.runtime import ranks
from ddselect.runtime.errors import NumericalError, UserError
from tests.fault.runs import run_here
from tests.helpers.wandb_file import WandbFile

TINY = [
    *("dataset.sizes.train=40", "dataset.sizes.val=10", "dataset.sizes.test=30", "scoring.draws=2", "ipc=1"),
    *("compare=[all]", "protocol.steps=4", "protocol.evaluations=2", "relabel=logits", "trainer.students=1"),
    *("report.images_per_class=1", "report.maps_per_class=0"),
]
SHARED = ("index", "teacher", "test_views", "teacher_check", "prompt", "prior_check", "scoring", "boxes", "embed")
OF_A_SET = ("selection", "composition", "quality", "relabel", "student")


def tiny(store: Path, *overrides: str) -> Experiment:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return build_experiment(compose("config", [*TINY, f"store={store}", *overrides]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as job of a sweep, and the same again when all of it is done."""
    folder = tmp_path_factory.mktemp("wandb")
    wandb.teardown()  # it reads the environment once in a process, and another test may have been first
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_RUN_GROUP", "mine")
        patch.setenv("WANDB_JOB_TYPE", "sweep")
        run(tiny(folder / "store", "logger=csv_wandb"), folder / "first")
    run(tiny(folder / "store", "logger=wandb"), folder / "again")
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> WandbFile:
    return WandbFile(folder / "first")


def stages(store: Path) -> dict[str, dict[str, Any]]:
    """The manifests of a store by fingerprint."""
    found = [json.loads(path.read_text()) for path in store.glob("*/*/manifest.json")]
    return {manifest["fingerprint"]: manifest for manifest in found}


def test_the_run_says_what_it_is(first: WandbFile) -> None:
    assert (first.run.run_group, first.run.job_type, first.run.project) == ("mine", "sweep", "ddselect")
    assert first.config["ipc"] == 1
    assert first.config["selection"]["name"] == "ddselect"
    assert {"ddselect", "commit", "python"} <= first.config["environment"].keys()
    assert first.exit_code == 0


def test_every_stage_is_there_under_its_name(folder: Path, first: WandbFile) -> None:
    places = [*SHARED, *(f"{stage}/ddselect-seed0" for stage in OF_A_SET)]
    done = stages(folder / "store")
    for place in places:
        manifest = done[first.summary[f"{place}/fingerprint"]]
        assert manifest["stage"] == place.split("/")[0]
        assert first.summary[f"{place}/cached"] is False
        assert first.summary[f"{place}/seconds"] == manifest["seconds"]
    assert {row["fingerprint"] for row in first.table("stages")} == done.keys()
    student = done[first.summary["student/ddselect-seed0/fingerprint"]]
    assert first.summary["student/ddselect-seed0/top1_last"] == student["facts"]["top1_last"]
    assert "quality/ddselect-seed0/quality/coverage" in first.summary


def test_scores_as_they_come_and_as_they_are(first: WandbFile) -> None:
    assert first.values("scoring/progress/images")[-1] == 40
    assert first.values("scoring/progress/images_per_second")[-1] > 0
    (histogram,) = first.values("boxes/image_scores")
    assert (histogram["_type"], sum(histogram["values"])) == ("histogram", 40)
    (boxes,) = first.values("boxes/boxes")
    assert boxes["count"] == 30  # the highest, the median and the lowest of each class
    assert all((first.files / name).exists() for name in boxes["filenames"])
    drawn = json.loads((first.files / boxes["all_boxes"][0]["true_box"]["path"]).read_text())
    assert 0 <= drawn["box_data"][0]["position"]["minX"] < drawn["box_data"][0]["position"]["maxX"] <= 1
    assert first.values("boxes/heat_maps")[0]["count"] == 30


def test_a_distilled_set_with_where_it_comes_from(first: WandbFile) -> None:
    (gallery,) = first.values("composition/ddselect-seed0/gallery")
    assert gallery["count"] == 10
    assert "train/" in gallery["captions"][0]
    (patches,) = first.values("composition/ddselect-seed0/patches")
    assert patches["count"] >= 10
    clusters = first.table("composition/ddselect-seed0/clusters")
    assert {row["class"] for row in clusters} == {str(digit) for digit in range(10)}
    assert all(row["candidates"] == 4 for row in clusters)
    picked = [row["picked"] for row in clusters if row["class"] == "0"]
    assert picked in ([4, 0], [0, 1])  # crops or a whole image
    assert "composition/all-seed0/gallery" not in first.keys  # all images are no distilled set


def test_students_with_their_curves_and_confusions(folder: Path, first: WandbFile) -> None:
    done = stages(folder / "store")
    fingerprint = first.summary["student/ddselect-seed0/fingerprint"]
    history = (folder / "store" / "student" / fingerprint / "metrics.jsonl").read_text().splitlines()
    tests = [json.loads(line) for line in history]
    assert first.values("student/ddselect-seed0/top1") == [test["top1"] for test in tests]
    assert first.axes["student/ddselect-seed0/top1"] == "student/step"
    rows = [row for row in first.rows if "student/ddselect-seed0/loss" in row]
    assert [row["student/step"] for row in rows] == [2, 4]
    classes = first.table("student/ddselect-seed0/classes")
    assert sum(row["test images"] for row in classes) == 30
    right = sum(row["test images"] * row["top-1 %"] / 100 for row in classes)
    wrong = sum(row["test images"] for row in first.table("student/ddselect-seed0/confused"))
    assert right == pytest.approx(30 * done[fingerprint]["facts"]["top1_last"] / 100)
    assert right + wrong == pytest.approx(30)
    matrix = first.table("student/ddselect-seed0/confusion_table")
    assert sum(row["nPredictions"] for row in matrix) == 30


def test_results(folder: Path, first: WandbFile) -> None:
    results = json.loads((folder / "first" / "results.json").read_text())
    assert [row["selection"] for row in first.table("results/selections")] == ["ddselect", "all"]
    assert first.summary["results/top1"] == results["results"][0]["top1_last"]
    assert first.summary["results/localisation/pointing_game"] == results["localisation"]["pointing_game"]
    (page,) = first.values("results/report")
    assert (first.files / page["path"]).read_text() == (folder / "first" / "report.html").read_text()


def test_artifacts_say_what_they_are_made_from(folder: Path, first: WandbFile) -> None:
    kept = {name: value for name, value in first.artifacts.items() if value.type != "run_table"}
    name = "cluttered_digits-ipc1-ddselect-seed0"
    of_all = "cluttered_digits-ipc1-all-seed0"  # their images are the dataset
    expected = {f"{name}-distilled-set", f"{name}-soft-labels", f"{name}-student"}
    assert kept.keys() == {*expected, f"{of_all}-soft-labels", f"{of_all}-student"}
    fingerprint = first.summary["composition/ddselect-seed0/fingerprint"]
    files = {entry.path for entry in kept[f"{name}-distilled-set"].manifest.contents}
    store = folder / "store" / "composition" / fingerprint
    assert files == {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}
    student = json.loads(kept[f"{name}-student"].metadata)
    before = {"index", "test_views", "teacher", "prompt", "scoring", "boxes", "embed", "selection", "composition"}
    assert student["made_from"].keys() == {*before, "relabel"}
    assert student["made_from"]["composition"] == fingerprint
    assert fingerprint in kept[f"{name}-distilled-set"].aliases


def test_what_was_done_before_looks_the_same(folder: Path, first: WandbFile) -> None:
    again = WandbFile(folder / "again")

    def content(file: WandbFile) -> tuple[dict[str, Any], list[Any]]:
        changing = ("_", "stages", "results/report", "results/students")
        rows = [{k: plain(v) for k, v in row.items() if not k.startswith(changing)} for row in file.rows]
        facts = {k: v for k, v in file.summary.items() if isinstance(v, str | int | float) and "progress" not in k}
        facts = {k: v for k, v in facts.items() if not k.startswith("_") and not k.endswith("cached")}
        return facts, [row for row in rows if row and not any("progress" in key for key in row)]

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if not k.endswith(("path", "filenames"))}
        return [plain(item) for item in value] if isinstance(value, list) else value

    assert content(again) == content(first)
    assert all(row["cached"] for row in again.table("stages"))
    assert not any("progress" in key for key in again.keys)


def test_curves_in_files_only_where_they_are_wanted(folder: Path) -> None:
    assert {path.name for path in (folder / "first" / "logs").iterdir()} == {"ddselect-seed0", "all-seed0"}
    assert not (folder / "again" / "logs").exists()


def test_a_run_that_fails_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NumericalError):
        run(tiny(folder / "store", "logger=wandb", "protocol.learning_rate=1e30", "relabel=live"), tmp_path / "bad")
    bad = WandbFile(tmp_path / "bad")
    assert bad.exit_code == 2
    assert "student" not in {row["stage"] for row in bad.table("stages")}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_go_at_the_same_time", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(folder / "store", "logger=wandb"), tmp_path / "stopped")
    assert WandbFile(tmp_path / "stopped").exit_code == 130


def test_a_run_that_ends_early_is_finished(folder: Path, tmp_path: Path) -> None:
    run(tiny(folder / "store", "logger=wandb", "stages=[prompt]"), tmp_path / "run")
    found = WandbFile(tmp_path / "run")
    assert found.exit_code == 0
    assert [row["stage"] for row in found.table("stages")] == ["index", "prompt"]


def test_other_ranks_have_no_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_place", ranks._Place(1))
    run(tiny(folder / "store", "logger=wandb", "stages=[prompt]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_online_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"^logger\.mode=online: no W&B key found; log in with `wandb login` or set"):
        run(tiny(tmp_path / "store", "logger=wandb", "logger.mode=online"), tmp_path / "run")
    assert not (tmp_path / "store").exists()


def test_the_jobs_of_a_sweep_share_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job"
    job.write_text(f'#!/bin/sh\necho "$WANDB_RUN_GROUP $WANDB_JOB_TYPE" >> {tmp_path}/groups\n')
    job.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(job))
    assert run_here(tmp_path, "-m", "ipc=1,2", "hydra.sweep.dir=multirun/mine").code == 0
    assert (tmp_path / "groups").read_text() == "mine sweep\n" * 2
