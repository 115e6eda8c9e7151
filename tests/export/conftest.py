"""A real run of two selections, whose distilled sets are exported; made once."""

import json
from pathlib import Path

import pytest

from tests.fault.runs import SMALL, run_here

CHEAP = (
    *SMALL,
    *("selection=random_crop", "compare=[random_image]", "composition.whole=0.5", "evaluation.quality=false"),
    *("trainer.students=1", "protocol.steps=3", "protocol.evaluations=1", "hydra.run.dir=run"),
)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which it ran: ``run/`` and ``store/``; the labels are stored logits."""
    folder = tmp_path_factory.mktemp("work")
    ended = run_here(folder, *CHEAP, "relabel=logits")
    assert ended.code == 0, ended.err
    (folder / "said").write_text(ended.err)
    return folder


@pytest.fixture(scope="session")
def entry(work: Path) -> dict:
    """What its results say of the chosen selection."""
    return json.loads((work / "run" / "results.json").read_text())["results"][0]


@pytest.fixture(scope="session")
def distilled(work: Path, entry: dict) -> Path:
    """The folder of its images in the store."""
    return (work / "run" / entry["distilled"]).resolve()


@pytest.fixture(scope="session")
def exported(work: Path) -> Path:
    """It with its labels as class folders."""
    ended = run_here(work, "export", "run", "--to", "set", "--selection", "random_crop")
    assert (ended.code, ended.out) == (0, "exported: set\n"), ended.err
    return work / "set"
