"""A sweep has a folder of its own, and shows its own jobs alone."""

import csv
import json
from pathlib import Path

import pytest
from filelock import FileLock

from tests.fault.runs import run_here
from tests.helpers.data import write_folder
from tests.sweep.made import entry


def lines(swept: Path) -> list[tuple[int, str]]:
    """IPC, which a job's stand-in tells by its accuracy, and jobs of each line of a sweep's table."""
    table = csv.DictReader((swept / "summary.csv").read_text().splitlines())
    return [(int(float(line["top1_mean"]) - 5), line["jobs"]) for line in table]


def test_sweeps_that_the_clock_gives_the_same_name(stand_in: Path) -> None:
    words = ("-m", "hydra.sweep.dir='swept \"x\"/${now:%Y}'", "evaluation.split=val")
    for ipc in ("1,2", "4"):
        assert run_here(stand_in, *words, f"ipc={ipc}").code == 0
    first, second = sorted((stand_in / 'swept "x"').iterdir())
    assert second.name == f"{first.name}_2"
    assert lines(first) == [(1, "0"), (2, "1")]
    assert lines(second) == [(4, "0")]


def test_a_sweep_that_is_repeated_with_fewer_jobs_lists_no_others(stand_in: Path) -> None:
    words = ("-m", "hydra.sweep.dir=swept", "evaluation.split=val")
    for ipc in ("1,2,66", "1,2", "1"):
        ended = run_here(stand_in, *words, f"ipc={ipc}")
        assert ended.code == (1 if "66" in ipc else 0), ended.err
        assert lines(stand_in / "swept") == [(int(n), str(k)) for k, n in enumerate(ipc.split(",")) if n != "66"]
    assert (stand_in / "swept" / "1" / "results.json").exists()  # it is only not shown
    assert run_here(stand_in, "sweep-report", "swept").code == 0
    assert lines(stand_in / "swept") == [(1, "0")]


def test_a_job_that_could_not_say_anything_belongs_to_the_sweep_in_which_it_began(stand_in: Path) -> None:
    old = stand_in / "swept" / "7" / ".hydra" / "overrides.yaml"
    old.parent.mkdir(parents=True)
    old.write_text("- ipc=7\n")
    assert run_here(stand_in, "-m", "hydra.sweep.dir=swept", "ipc=1", "evaluation.split=val").code == 0
    new = stand_in / "swept" / "8" / ".hydra" / "overrides.yaml"
    new.parent.mkdir(parents=True)
    new.write_text("- ipc=8\n")
    ended = run_here(stand_in, "sweep-report", "swept")
    assert [line.split(":")[1] for line in ended.messages] == [" job 8 failed"]


def test_a_sweep_whose_folder_is_in_use_is_refused_and_disturbs_nobody(stand_in: Path) -> None:
    (stand_in / "swept").mkdir()
    with FileLock(stand_in / "swept" / ".lock"):
        line = run_here(stand_in, "-m", "hydra.sweep.dir=swept", "ipc=1,2").assert_one_line(2)
        assert [path.name for path in (stand_in / "swept").iterdir()] == [".lock"]
    assert "hydra.sweep.dir=swept: it is in use by another run" in line


@pytest.mark.slow
def test_a_job_does_not_write_over_the_results_of_another(tmp_path: Path) -> None:
    """As when another sweep is put into the same folder."""
    write_folder(tmp_path / "data", per_class=1)
    words = ("-m", "dataset=imagefolder", "dataset.root=data", "stages=[index]", "hydra.sweep.dir=swept")
    assert run_here(tmp_path, *words, "ipc=1").code == 0
    found = tmp_path / "swept" / "0" / "results.json"
    kept = {"results": [entry("ddselect", 1, 0, 60)], "config": {"objective": "top1_last"}}
    found.write_text(json.dumps(kept))
    ended = run_here(tmp_path, *words, "ipc=2", "stages=[report]")
    assert ended.code == 1
    assert "job 0 failed" in ended.messages[0]
    assert "it holds the results of other settings (ipc)" in ended.messages[0]
    assert json.loads(found.read_text()) == kept
    assert run_here(tmp_path, *words, "ipc=1").code == 0
