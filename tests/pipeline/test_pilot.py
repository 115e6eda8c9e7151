"""``stages=[pilot]`` from the command line, on one rank and on two."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.runs import SMALL, only, run_here

pytestmark = pytest.mark.slow

PILOT = (
    *SMALL,
    "stages=[pilot]",
    "backbone.dtype=fp32",
    "pilot.classes=2",
    "pilot.images=10",
    "pilot.reference=12",
    "pilot.bands=[[0.3,0.65]]",
    "pilot.draws=[2,6]",
)


def test_a_pilot_prints_its_budgets_and_is_not_tried_twice(tmp_path: Path) -> None:
    ended = run_here(tmp_path, *PILOT)
    assert ended.code == 0, ended.err
    folder = only(tmp_path / "store" / "pilot")
    assert ended.out.splitlines()[-1] == f"pilot: {folder.relative_to(tmp_path)}"
    assert "scoring budgets on 20 images" in ended.out
    assert "reference 2: 12 draws" in ended.err
    assert not (tmp_path / "store" / "teacher").exists()
    assert not (tmp_path / "store" / "scoring").exists()
    again = run_here(tmp_path, *PILOT)
    assert again.out == ended.out
    assert "reference" not in again.err
    command = [sys.executable, "-m", "ddselect", *PILOT, "trainer=ddp_cpu", "store=two"]
    two = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stderr
    assert two.stdout.replace("two/", "store/") == ended.out
