"""Places that cannot be written or are gone: one line, or another place."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from ddselect import cli
from ddselect.exits import COMMAND
from ddselect.tracking.wandb_run import files_in
from tests.fault.runs import Ended, run_here
from tests.helpers.data import write_folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_folder(tmp_path / "data", per_class=1)
    (tmp_path / "file").touch()
    return tmp_path


def look(place: Path, *arguments: str) -> Ended:
    """A run that only looks at a few images."""
    return run_here(place, "dataset=imagefolder", "dataset.root=data", "stages=[index]", *arguments)


@pytest.mark.parametrize(
    "words",
    [["store=file/store"], ["store=/sys/store"], ["hydra.run.dir=file/run"], ["hydra.run.dir=/sys/run"],
     ["-m", "hydra.sweep.dir=file/swept"], ["-m", "hydra.sweep.dir=/sys/swept"]],
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_named_in_one_line(words: list[str], place: Path) -> None:
    where = words[-1].partition("=")[2].partition("/")[0] or "/sys"
    lines = [line for line in look(place, *words).err.splitlines() if line.startswith("ddselect: ")]
    assert where in lines[0]
    assert "Traceback" not in "".join(lines)


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "HF_HOME", "TORCH_HOME", "TMPDIR"])
def test_nothing_is_needed_outside_the_store_and_the_run_folder(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert look(place).code == 0
    assert look(place, "dry_run=true").code == 0


def test_no_place_for_temporary_files_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    assert "set TMPDIR to a folder that can be written" in look(place, "dry_run=true").assert_one_line(2)


def test_a_current_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "argv", ["ddselect", "stages=[index]"])
    monkeypatch.setenv(COMMAND, "ddselect")  # which the command would leave to the tests that follow
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (2, "ddselect: the current folder is gone; go to another\n")


def test_all_files_of_wandb_are_in_the_run_folder_unless_a_user_chose_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setenv("WANDB_CACHE_DIR", "mine")
    with files_in(tmp_path):
        assert (os.environ["WANDB_DATA_DIR"], os.environ["WANDB_CACHE_DIR"]) == (str(tmp_path / "wandb"), "mine")
    assert "WANDB_DATA_DIR" not in os.environ
