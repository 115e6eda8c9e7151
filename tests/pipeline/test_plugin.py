"""The plug-in in ``examples/``, installed: its selection and its stage are like ours wherever a user looks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddselect.sweep.job import write_record
from tests.fault.runs import SMALL, run_here
from tests.helpers.wandb_file import WandbFile

ROOT = Path(__file__).parents[2]
RUN = (*SMALL, "selection=random_image", "compare=[sharpest,{sharpest: {blurred: true}}]", "evaluation.quality=false")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a whole run, ``run/``; in this process and those that it starts the plug-in is installed."""
    place, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    source = shutil.copytree(ROOT / "examples" / "plugin", place / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", place / "site", source], check=True, cwd=place)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place / "site"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(place / "site"), str(ROOT / "src")]))
        ended = run_here(folder, *RUN, "trainer.students=2", "logger=wandb", "logger.mode=offline", "hydra.run.dir=run")
        assert ended.code == 0, ended.err
        yield folder


def test_its_selection_is_compared_with_ours(work: Path) -> None:
    entries = json.loads((work / "run" / "results.json").read_text())["results"]
    assert [entry["selection"] for entry in entries] == ["random_image", "sharpest", "sharpest blurred=True"]
    assert len({entry["fingerprints"]["selection"] for entry in entries}) == 3
    (stage,) = (work / "store" / "sharpness").iterdir()  # once for both
    assert json.loads((stage / "manifest.json").read_text())["facts"]["images"] == 100


def test_the_report_and_the_page_of_a_sweep_show_it(work: Path) -> None:
    page = (work / "run" / "report.html").read_text()
    assert ">sharpest<" in page
    assert ">sharpness<" in page
    job = work / "sweep" / "0"
    job.mkdir(parents=True)
    shutil.copy(work / "run" / "results.json", job)
    write_record(job, ["selection=sharpest"], "", 1.0)
    ended = run_here(work, "sweep-report", "sweep")
    assert ended.code == 0, ended.err
    assert ">sharpest<" in (work / "sweep" / "report.html").read_text()


def test_wandb_has_its_stage_and_its_selection(work: Path) -> None:
    followed = WandbFile(work / "run")
    assert "sharpness" in [row["stage"] for row in followed.table("stages")]
    assert "sharpest" in [row["selection"] for row in followed.table("results/selections")]


def test_a_plan_has_its_stage(work: Path) -> None:
    ended = run_here(work, *SMALL, "stages=[sharpness]", "dry_run=true")
    assert "sharpness" in ended.out
    assert "everything is done before" in ended.out


def test_help_and_completion_have_its_option(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "rded_published, sharpest, top_score" in run_here(work, "--help").out
    line = "ddselect selection=sh"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert run_here(work, "-sc", "query=bash").out.split() == ["selection=sharpest"]
