"""One run that nothing disturbed, to compare the others with."""

from pathlib import Path

import pytest

from tests.fault.runs import SMALL, run_here

# shards and marks enough for a signal to fall between two of them
LONGER = (*SMALL, "scoring.draws=8", "scoring.shard_size=10", "protocol.steps=90", "protocol.evaluations=9")


@pytest.fixture(scope="session")
def longer() -> tuple[str, ...]:
    """Settings of runs that are long enough to be interrupted."""
    return LONGER


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run: ``run/results.json`` and ``store/``."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = run_here(folder, *LONGER, "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    return folder
