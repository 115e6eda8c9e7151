"""The second drawn dataset through every stage, with the prior and the teacher that are trained on it."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.fault.runs import SMALL, run_here


@pytest.mark.slow
def test_shapes_from_scenes_to_a_student(tmp_path: Path) -> None:
    few = ("backbone.adapt.steps=2", "backbone.adapt.batch_size=8", "teacher.recipe.steps=4", "teacher.check=false")
    ended = run_here(tmp_path, "dataset=textured_shapes", *few, *SMALL, "hydra.run.dir=run", "trainer.students=1")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    (entry,) = found["results"]
    assert (entry["dataset"], entry["backbone"]) == ("textured_shapes", "class_unet")
    assert found["teacher"]["name"] == "trained"
    assert found["localisation"]["images"] == 100
    folder = tmp_path / "store" / "backbone" / entry["fingerprints"]["backbone"] / "model"
    assert list(json.loads((folder / "model_index.json").read_text())["id2label"].values())[:2] == ["arrow", "bolt"]
    assert load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")["class_embedding.weight"].shape[0] == 11
