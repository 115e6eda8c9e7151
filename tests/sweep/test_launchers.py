"""Every launcher runs each job in a process of its own, whatever becomes of the others."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.fault.runs import Ended, run_here

ROOT = Path(__file__).parents[2]
BAD = "ipc=1,66,2,99"


def sweep(folder: Path, *words: str) -> tuple[Path, Ended]:
    ended = run_here(folder, "-m", *words, "hydra.sweep.dir=swept")
    return folder / "swept", ended


def assert_reported(swept: Path, ended: Ended) -> None:
    """Two of four jobs of BAD failed: each has a line, and the page of the others is written."""
    assert ended.code == 1, ended.err
    assert ended.messages == [
        "ddselect: job 1 failed: student: out of luck; to repeat it: python run.py ipc=66",
        "ddselect: job 3 failed: killed by SIGKILL (most often for want of memory); to repeat it: python run.py ipc=99",
        "ddselect: 2 of 4 jobs of the sweep failed",
    ]
    assert ended.out.splitlines()[-1] == f"summary: {swept / 'summary.csv'}"
    lines = list(csv.DictReader((swept / "summary.csv").read_text().splitlines()))
    assert [(line["ipc"], float(line["top1_mean"]), line["jobs"]) for line in lines] == [("1", 6, "0"), ("2", 7, "2")]
    assert "student: out of luck" in (swept / "report.html").read_text()
    assert json.loads((swept / "1" / "job.json").read_text())["overrides"] == ["ipc=66"]
    assert not list(swept.glob("*/error.txt"))


def test_one_after_the_other(stand_in: Path) -> None:
    swept, ended = sweep(stand_in, BAD)
    assert_reported(swept, ended)
    assert "[0] ipc=1" in ended.err


def test_joblib(stand_in: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    swept, ended = sweep(stand_in, BAD, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert_reported(swept, ended)
    jobs = [line.split() for line in (stand_in / "jobs").read_text().splitlines()]
    assert [share for _, share in jobs] == ["2", "2"]


def test_submitit(stand_in: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    swept, ended = sweep(stand_in, BAD, "hydra/launcher=submitit_local")
    assert_reported(swept, ended)
    assert len({line.split()[0] for line in (stand_in / "jobs").read_text().splitlines()}) == 2


def test_a_search_raises_the_objective_and_outlives_failures(stand_in: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "ipc=1,66", "selection.whole=interval(0,1)")
    swept, ended = sweep(stand_in, *words, "hydra.sweeper.sampler.seed=0")  # of its five jobs some fail
    assert ended.code == 1, ended.err
    records = [json.loads(path.read_text()) for path in swept.glob("*/job.json")]
    assert len(records) == 5
    done = [dict(word.split("=") for word in record["overrides"]) for record in records if not record["error"]]
    assert 0 < len(done) < 5
    best = yaml.safe_load((swept / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(max(10 * float(job["selection.whole"]) + 1 for job in done))
    assert "evaluation.split=val" in ended.err  # it looks at the test images


def test_a_search_of_which_every_job_fails_says_so(stand_in: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    swept, ended = sweep(stand_in, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "ipc=66,99")
    assert ended.code == 1, ended.err
    assert ended.messages[-1] == "ddselect: 2 of 2 jobs of the sweep failed"
    assert "Traceback" not in ended.err
    assert (swept / "report.html").exists()


def test_jobs_that_succeed_end_in_zero(stand_in: Path) -> None:
    swept, ended = sweep(stand_in, "ipc=1,2", "evaluation.split=val")
    assert ended.code == 0, ended.err
    assert ended.messages == []
    assert (swept / "report.html").exists()


@pytest.mark.parametrize("name", ["josé", "p (1)", "a=b", "a&b", "a[1]", "a#b", "日本"])
def test_a_sweep_runs_in_a_folder_of_any_name(name: str, stand_in: Path) -> None:
    (stand_in / name).mkdir()
    swept, ended = sweep(stand_in / name, "ipc=1,2")
    assert ended.code == 0, ended.err
    for number in ("0", "1"):
        told = json.loads((swept / number / "results.json").read_text())["words"][-1]
        assert OverridesParser.create().parse_overrides([told])[0].value() == str(swept / number)


def test_the_command_that_repeats_a_job_finds_the_same_configs(stand_in: Path) -> None:
    options = stand_in / "my é" / "selection"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text("defaults:\n  - random_image\n  - _self_\nname: mine\n")
    _, ended = sweep(stand_in, f"--config-dir={options.parent}", "selection=mine", "ipc=66")
    assert f"--config-dir '{options.parent}' selection=mine ipc=66" in ended.messages[0]
