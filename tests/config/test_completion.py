"""Completion in a shell, and help."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.runs import run_here

ROOT = Path(__file__).parents[2]
COMPLETE = """
PATH="$1:$PATH"
eval "$(python run.py -sc install=bash)"
complete -p python > /dev/null || exit 1
for COMP_LINE in "python run.py selection=rd" "python run.py experiment=imagewoof" "python run.py scoring.dr"; do
    COMP_POINT=${#COMP_LINE}; COMP_WORDS=($COMP_LINE); COMP_CWORD=2; COMPREPLY=()
    hydra_bash_completion
    echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_groups_options_and_keys(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # a linked interpreter finds no environment
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "selection=rded selection=rded_published",
        "experiment=imagewoof_hard",
        "scoring.draws=",
    ], done.stderr


def test_help_says_what_there_is(tmp_path: Path) -> None:
    ended = run_here(tmp_path, "--help")
    assert ended.code == 0
    for words in (
        "dry_run=true",
        "stages=[scoring]",
        "selection: all, bps, ccs",
        "experiment: cifar100_rded",
        "--cfg job",
    ):
        assert words in ended.out
    assert "$" not in ended.out
    assert max(map(len, ended.out.splitlines())) < 260
