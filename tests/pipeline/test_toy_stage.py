"""A new stage is one file and one line in the list: it is resumed, planned, locked and tracked like the others."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fault.runs import SMALL

# The file of the stage; as a package's own it would be <package>/stage.py.
TOY = '''
import time
from pathlib import Path
from ddselect.runtime.progress import counting
from ddselect.runtime.stage import Facts, Stage, Trial


def count(trial: Trial, folder: Path) -> Facts:
    """Counts the training images of each class, one class a file, and goes on where it was interrupted."""
    from ddselect.dataset.index import read_index

    index, new = read_index(trial.stages["index"].folder).split("train"), 0
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
# The line in the list.
START = "import toy, ddselect.pipeline as p; p.STAGES = (*p.STAGES, toy.STAGE); import ddselect.cli as c; c.main()"


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    (folder / "toy.py").write_text(TOY)
    command = [sys.executable, "-c", START, *SMALL, "compare=[]", "stages=[toy]", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def manifests(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in folder.glob("store/toy/*/manifest.json")]


@pytest.mark.slow
def test_a_stage_is_one_file_and_one_line(tmp_path: Path) -> None:
    planned, _ = start(tmp_path, "dry_run=true").communicate(timeout=120)
    assert "toy" in planned
    assert not (tmp_path / "store").exists()

    killed = start(tmp_path, "seeds=[1]")
    while len(list(tmp_path.glob("store/toy/*/?.txt"))) < 2:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    assert not manifests(tmp_path)
    both = [
        start(tmp_path, "seeds=[1]", "logger=wandb", "logger.mode=offline", f"hydra.run.dir=run{k}") for k in (0, 1)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.startswith("toy: store/toy/")
    (made,) = manifests(tmp_path)
    facts = made["facts"]
    assert isinstance(facts, dict)
    assert facts["classes"] == 10
    assert 0 < facts["new"] < 10  # it went on, and one of the two waited for the other
    assert {path.parent.name for path in tmp_path.glob("store/*/*")} == {"index", "toy"}
    assert all(list((tmp_path / f"run{k}").rglob("*.wandb")) for k in (0, 1))
    again, _ = start(tmp_path, "seeds=[1]", "dry_run=true").communicate(timeout=120)
    assert "everything is done before" in again
