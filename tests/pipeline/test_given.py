"""Distilled sets of others as arms of a run: trained, tested, told of, exported, and found again wherever they lie."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ddselect.runtime.errors import UserError
from tests.fault.runs import SMALL, run_here
from tests.helpers.data import picture, write_folder
from tests.helpers.wandb_file import WandbFile

DIGITS = [str(number) for number in range(10)]
RUN = (*SMALL, "protocol.steps=3", "protocol.evaluations=1", "trainer.students=1", "logger=csv_wandb")


def write_tensors(path: Path) -> None:
    """Three images of each class, in turn."""
    images = torch.from_numpy(np.stack([np.array(picture(32, 32, seed=number)) for number in range(30)]))
    torch.save({"images": images.permute(0, 3, 1, 2), "labels": torch.arange(30) % 10}, path)


@pytest.mark.slow
def test_given_sets_chosen_and_beside(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", [""], [f"new{number:03d}" for number in range(10)], 2)
    write_tensors(tmp_path / "dm.pt")
    run = [*RUN, "selection=given", "compare=[{given: {root: dm.pt, name: dm}}]", "seeds=[0,1]"]
    ended = run_here(tmp_path, *run, "selection.root=set", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    made = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "store").iterdir()}
    once = dict.fromkeys(("index", "teacher", "test_views", "teacher_check", "embed"), 1)
    assert made == {**once, "composition": 2, "given_check": 2, "quality": 2, "student": 4}
    assert "3 images per class, not ipc=2" in ended.err

    results = json.loads((tmp_path / "run" / "results.json").read_text())["results"]
    arms = [(entry["selection"], entry["seed"], entry["training_images"]) for entry in results]
    assert arms == [("given", 0, 20), ("given", 1, 20), ("dm", 0, 30), ("dm", 1, 30)]
    assert all(entry["quality"]["coverage"] is not None for entry in results)
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(
        words in page for words in ("2 images as given", "3 images as given", "dm: 3 images per class, not ipc=2")
    )
    followed = WandbFile(tmp_path / "run")
    assert followed.values("composition/dm-seed0/gallery")
    assert "given_check/dm-seed0/top1" in followed.summary

    ended = run_here(tmp_path, "export", "run", "--to", "mine", "--selection", "dm", "--seed", "0")
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "mine").glob("*/*.png"))) == 30
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "copied from a distilled set that others made" in card
    assert str(tmp_path) not in card

    (tmp_path / "set").rename(tmp_path / "moved")
    ended = run_here(tmp_path, *run, "selection.root=moved", "hydra.run.dir=again")
    assert ended.code == 0, ended.err
    again = json.loads((tmp_path / "again" / "results.json").read_text())["results"]
    assert all(reused for entry in again for reused in entry["reused"].values())


def test_a_set_is_looked_at_before_anything_expensive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(*_: object) -> None:
        raise UserError("so far")

    monkeypatch.setattr("ddselect.scoring.run.score", score)
    write_folder(tmp_path / "set", [""], DIGITS, 2)
    ended = run_here(tmp_path, *SMALL, "selection=top_score", "compare=[{given: {root: set}}]")
    assert "so far" in ended.assert_one_line(2)
    made = {path.parent.parent.name for path in tmp_path.glob("store/*/*/manifest.json")}
    first = {"index", "teacher", "test_views", "teacher_check", "composition", "given_check"}
    assert made == {*first, "prompt", "prior_check"}


@pytest.mark.parametrize("more", [(), ("dry_run=true",)])
def test_a_set_that_does_not_fit_is_refused_before_any_work(more: tuple[str, ...], tmp_path: Path) -> None:
    write_folder(tmp_path / "set", [""], DIGITS[1:], 1)
    ended = run_here(tmp_path, *SMALL, "compare=[{given: {root: set}}]", *more)
    assert "1 of the dataset's 10 classes are missing, such as '0'" in ended.assert_one_line(2)
    assert not (tmp_path / "store").exists()


def test_a_plan_counts_the_images_of_a_given_set(tmp_path: Path) -> None:
    write_tensors(tmp_path / "dm.pt")
    ended = run_here(tmp_path, *SMALL, "selection=given", "selection.root=dm.pt", "dry_run=true")
    assert ended.code == 0, ended.err
    assert "30 images" in next(line for line in ended.out.splitlines() if line.startswith("│ composition"))
