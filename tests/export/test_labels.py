"""Stored labels, read with nothing but safetensors and their description."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddselect.relabel.stored import labelled_views
from ddselect.runtime.errors import UserError
from ddselect.teacher.card import load_teacher
from tests.export.conftest import CHEAP
from tests.fault.runs import only, run_here


@pytest.mark.parametrize("place", ["store", "export"])
def test_logits_belong_to_the_images_and_views_that_they_name(
    place: str, work: Path, entry: dict, exported: Path
) -> None:
    labels = (work / "run" / entry["labels"]).resolve() if place == "store" else exported
    told = json.loads((labels / "labels.json").read_text())
    shards = [load_file(path) for path in sorted(labels.glob("labels-*.safetensors"))]
    assert (told["keep"], told["width"], told["steps"]) == ("logits", 10, 3)
    assert len(shards) == -(-told["steps"] // told["steps_per_pass"])
    rows = {name: torch.cat([shard[name] for shard in shards]) for name in ("labels", "images", "steps")}
    count = told["steps"] * told["batch_size"]
    assert (rows["labels"].dtype, rows["labels"].shape) == (torch.float16, (count, 10))
    assert (rows["images"].dtype, rows["images"].shape) == (torch.int32, (count,))
    assert (rows["steps"].dtype, rows["steps"].tolist()) == (torch.int32, sorted(rows["steps"].tolist()))
    teacher = load_teacher(only(work / "store" / "teacher"))
    views = labelled_views(exported, labels)
    for step in range(told["steps"]):
        mine = rows["steps"] == step
        images, classes, stitched, _ = views.batch(step)
        assert torch.equal(images, views.data.images[rows["images"][mine].long()])
        assert torch.equal(classes, views.data.labels[rows["images"][mine].long()])
        with torch.no_grad():
            seen = teacher(views.mixed(images, stitched, step).images)
        torch.testing.assert_close(rows["labels"][mine].float(), seen, atol=2e-2, rtol=2e-3)
        assert (seen.softmax(1).amax(1) > 0.2).any()  # the teacher says something


def test_features_and_the_last_layer_make_the_logits(work: Path, exported: Path) -> None:
    ended = run_here(work, *CHEAP, "relabel=features", "compare=[]", "hydra.run.dir=features")
    assert ended.code == 0, ended.err
    assert run_here(work, "export", "features", "--to", "features-set").code == 0
    folder = work / "features-set"
    told = json.loads((folder / "labels.json").read_text())
    last = load_file(folder / "classifier.safetensors")
    assert (last["weight"].shape, last["bias"].shape) == ((10, told["width"]), (10,))
    assert {last["weight"].dtype, last["bias"].dtype} == {torch.float32}
    for path in sorted(exported.glob("labels-*.safetensors")):
        logits, features = load_file(path), load_file(folder / path.name)
        assert torch.equal(logits["images"], features["images"])
        assert features["labels"].shape == (len(logits["labels"]), told["width"])
        made = features["labels"].float() @ last["weight"].T + last["bias"]
        torch.testing.assert_close(made, logits["labels"].float(), atol=5e-2, rtol=5e-3)
    assert "`classifier.safetensors` makes logits of them" in (folder / "README.md").read_text()


def test_views_of_labels_that_are_not_there(distilled: Path) -> None:
    with pytest.raises(UserError, match=r"labels.json is missing: no labels are stored there"):
        labelled_views(distilled, distilled)
