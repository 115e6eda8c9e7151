"""A new stage is one file and one line in the list: it is resumed, planned, locked and tracked like the others."""

import importlib
import json
import signal
import sys
from pathlib import Path

import pytest

from ddselect import pipeline
from tests.fault.runs import SMALL, Started, run_here
from tests.helpers.wandb_file import WandbFile

# The file of the stage; as a package's own it would be <package>/stage.py.
TOY = '''
import time
from pathlib import Path
from ddselect.runtime.progress import counting
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def count(trial: Trial, folder: Path) -> Facts:
    """Counts the training images of each class, one class a file, and goes on where it was interrupted."""
    from ddselect.dataset.index import index_of

    index, new = index_of(trial).split("train"), 0
    with counting("toy", len(index.class_names), "classes") as counter:
        for label in range(len(index.class_names)):
            file = folder / f"{label}.txt"
            if not file.exists():
                time.sleep(trial.seed * 0.3)
                file.write_text(str(int((index.labels == label).sum())))
                new += 1
            counter.advance()
    return {"classes": len(index.class_names), "new": new}


STAGE = Stage(
    name="toy",
    version=1,
    reads=("index",),
    key=lambda trial: {"seed": trial.seed},
    run="toy:count",
    scope="seed",
    expects=lambda trial: {"classes": trial.classes},
    cost=lambda config, facts: ([], facts["classes"], facts["classes"]),
    unit="classes",
)
'''


def add(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Writes the file and adds the line, in this process."""
    (folder / "toy.py").write_text(TOY)
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, "toy", raising=False)
    patch.setattr(pipeline, "STAGES", (*pipeline.STAGES, importlib.import_module("toy").STAGE))


class WithToy(Started):
    """A run in a process of its own, with the stage."""

    @staticmethod
    def main(folder: Path, arguments: tuple[str, ...], log: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            add(folder, patch)
            Started.main(folder, arguments, log)


def manifests(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in folder.glob("store/toy/*/manifest.json")]


@pytest.mark.slow
def test_a_stage_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, monkeypatch)
    toy = (*SMALL, "stages=[toy]", "seeds=[1]")
    planned = run_here(tmp_path, *toy, "dry_run=true")
    assert planned.code == 0, planned.err
    assert "toy" in planned.out
    assert not (tmp_path / "store").exists()

    killed = WithToy(tmp_path, *toy)
    killed.wait_for("store/toy/*/1.txt")
    assert killed.end(signal.SIGKILL).code == -signal.SIGKILL
    assert not manifests(tmp_path)

    other = WithToy(tmp_path, *toy, "hydra.run.dir=other")
    ended = run_here(tmp_path, *toy, "logger=wandb", "logger.mode=offline", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("toy: store/toy/")
    assert other.wait().code == 0
    (made,) = manifests(tmp_path)
    facts = made["facts"]
    assert isinstance(facts, dict)
    assert facts["classes"] == 10
    assert 0 < facts["new"] < 10  # it went on, and one of the two waited for the other
    assert {path.parent.name for path in tmp_path.glob("store/*/*")} == {"index", "toy"}
    followed = WandbFile(tmp_path / "run")
    assert [row["stage"] for row in followed.table("stages")] == ["index", "toy"]
    assert followed.summary["toy/seed1/classes"] == 10
    assert "everything is done before" in run_here(tmp_path, *toy, "dry_run=true").out
