"""Scoring that is killed again and again; ``make soak`` does it more often than the suite."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.fault.runs import SMALL, Started, only, run_here

pytestmark = pytest.mark.slow


def test_kills_at_random_moments_cost_a_shard_each_and_change_nothing(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = int(pytestconfig.getoption("kills"))
    images = f"dataset.sizes.train={150 * (kills + 1)}"  # more than can be scored between the kills
    settings = (*SMALL, "scoring.draws=8", "scoring.shard_size=10", "stages=[scoring]", images)
    moments, times = random.Random(kills), {}
    for _ in range(kills):
        run = Started(tmp_path / "killed", *settings)
        run.wait_for("store/scoring/*")
        time.sleep(moments.uniform(0.2, 2.0))
        assert run.end(signal.SIGKILL).code == -signal.SIGKILL  # it was still at work
        now = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/store/scoring/*/shard-*.parquet")}
        assert {path: now.get(path) for path in times} == times  # no shard is done twice: a kill costs the one at work
        times = now
    assert run_here(tmp_path / "killed", *settings).code == 0
    assert run_here(tmp_path, *settings).code == 0
    mine, other = (only(folder / "store" / "scoring") for folder in (tmp_path / "killed", tmp_path))
    assert {path.name for path in mine.iterdir()} == {path.name for path in other.iterdir()}
    for path in mine.glob("*.parquet"):
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
