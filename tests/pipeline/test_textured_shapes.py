"""The second embedded dataset through every stage, with the prior and the teacher that it chooses."""

import json
from pathlib import Path

import pytest

from tests.fault.runs import SMALL, run_here


@pytest.mark.slow
def test_shapes_from_scenes_to_a_student(tmp_path: Path) -> None:
    ended = run_here(tmp_path, "dataset=textured_shapes", *SMALL, "hydra.run.dir=run", "trainer.students=1")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    (entry,) = found["results"]
    assert (entry["dataset"], entry["backbone"]) == ("textured_shapes", "embedded_shapes")
    assert found["teacher"]["name"] == "embedded_shapes"
    assert found["teacher"]["top1"] > 85
    assert found["localisation"]["pointing_game"] > 2 * found["localisation"]["pointing_game_chance"]
    assert found["localisation"]["coverage"] > found["localisation"]["coverage_chance"] + 0.1
