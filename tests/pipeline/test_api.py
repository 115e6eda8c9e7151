"""ddselect from Python: a run, a scoring and a selection as objects, in a process that is left as it was."""

import errno
import os
import sys
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch.utils.data import DataLoader, Dataset

import ddselect
from tests.fault.runs import SMALL

CHEAP = (
    *(word for word in SMALL if not word.startswith("compare=")),
    *("selection=random_crop", "compare=[random_image]", "evaluation.quality=false", "trainer.students=1"),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def run(work: Path) -> ddselect.Run:
    with chdir(work), torch.no_grad():
        return ddselect.run(*CHEAP)


@pytest.mark.slow
def test_a_run_has_what_the_command_line_writes(run: ddselect.Run, work: Path) -> None:
    assert run.folder.is_relative_to(work / "outputs")
    assert {path.name for path in run.folder.iterdir()} >= {"results.json", "report.html"}
    assert [entry["selection"] for entry in run.results["results"]] == ["random_crop", "random_image"]
    assert run.results["environment"]["command"] == list(CHEAP)


@pytest.mark.slow
def test_a_distilled_set_is_a_torch_dataset_with_provenance(run: ddselect.Run) -> None:
    ids = set(run.images().ids)
    for name, patches in (("random_crop", 4), ("random_image", 1), (None, 4)):
        distilled = run.distilled(name)
        assert isinstance(distilled, Dataset)
        assert len(distilled) == 20
        images, labels = next(iter(DataLoader(distilled, batch_size=20)))
        assert (images.shape, images.dtype) == ((20, 3, 32, 32), torch.uint8)
        assert labels.equal(distilled.labels)
        assert all(len(entry["patches"]) == patches for entry in distilled.metadata)
        assert {patch["source"] for entry in distilled.metadata for patch in entry["patches"]} <= ids
    with pytest.raises(ddselect.UserError, match="it has random_crop, seed 0; random_image, seed 0"):
        run.distilled("rded")
    with pytest.raises(ddselect.UserError, match="this run has no stage 'boxes'"):
        run.scores()


@pytest.mark.slow
def test_the_same_again_in_one_process_finds_all_of_it_done(run: ddselect.Run, work: Path) -> None:
    with chdir(work):
        again = ddselect.run(*CHEAP)
    assert again.folder != run.folder
    assert all(done.reused for trial in again.trials for done in trial.stages.values())
    assert [entry["top1_last"] for entry in again.results["results"]] == [
        entry["top1_last"] for entry in run.results["results"]
    ]


@pytest.mark.slow
def test_scores_and_a_selection_alone(work: Path) -> None:
    with chdir(work):
        scores = ddselect.score(*CHEAP)
        table = ddselect.select(*CHEAP, "selection=top_score")
    assert scores.ids.shape == scores.labels.shape == scores.images.shape == (100,)
    maps = scores.maps().difference
    assert maps.shape == (100, 16, 16)
    assert np.allclose(scores.maps().image_score, scores.images)
    assert torch.equal(scores.maps(scores.ids[5:8]).difference, maps[5:8])
    first = next(row for row in table.to_pylist() if row["kind"] == "image")
    assert (first["label"], first["rank"]) == (0, 0)
    assert first["score"] == scores.images[scores.labels == 0].max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["ipc=0"], "ipc=0: at least 1 image"),
        (["selection=rdde"], "no option 'rdde' in group 'selection'; did you mean rded"),
        (["selection.kind=1"], "unknown key 'selection.kind'"),
        (["selection=[rded,all]"], r"selection=\[rded,all\]: a group has one option"),
        (["seeds.a=1"], r"seeds.a: seeds is a list; write all of it"),
        (["ipc"], "cannot read 'ipc'"),
        (["stages=[scorng]"], "no such stage; did you mean scoring"),
        (["plugins=[nowhere]"], r"plugins=\[nowhere\]: no such package"),
        (["dataset=imagefolder", "dataset.root=nowhere"], "no images found in 'nowhere'"),
        (["dataset=imagefolder", "dataset.root=é (1)"], r"no images found in 'é \(1\)'"),
        (["trainer=ddp_cpu", "trainer.devices=2"], "several devices are for the command line"),
    ],
)
def test_mistakes_are_exceptions_and_the_process_is_as_before(
    settings: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, threads = list(sys.argv), torch.get_num_threads()
    with torch.no_grad(), pytest.raises(ddselect.UserError, match=message):
        ddselect.run(*settings)
    assert (sys.argv, torch.get_num_threads()) == (arguments, threads)
    assert not GlobalHydra.instance().is_initialized()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ddselect.api.make", full)
    monkeypatch.setattr("ddselect.runtime.errors.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    (tmp_path / "here").mkdir()
    with pytest.raises(ddselect.UserError, match=r"no space left on the disk for the (store|run folder) \(.*here"):
        ddselect.run("store=here", "hydra.run.dir=here")


def test_what_the_environment_says_of_ranks_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_PROCID", "1")
    ddselect.run(*CHEAP, "dry_run=true")
    with pytest.raises(ddselect.UserError, match="no images found"):
        ddselect.run("dataset=imagefolder", "dataset.root=nowhere")
    assert os.environ["SLURM_PROCID"] == "1"


def test_a_plan_is_printed_and_nothing_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    planned = ddselect.run(*CHEAP, "dry_run=true")
    assert "dry run: nothing is computed" in capsys.readouterr().out
    assert (planned.trials, planned.results, list(tmp_path.iterdir())) == ([], {}, [])
