"""Boxes of several sizes, the prior's own features and the automatic share of whole images, through every stage."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from ddselect.embed.prior import PriorNetwork
from tests.fault.runs import SMALL, run_here

pytestmark = pytest.mark.slow
CHOSEN = ("boxes=scales", "embed=backbone", "composition=auto", "evaluation.quality=false", "trainer.students=1",
          "selection.crop_pick=herding",
          "dataset.sizes.train=50", "dataset.sizes.test=20", "protocol.steps=2", "protocol.evaluations=1")  # fmt: skip


def results(folder: Path, *arguments: str) -> dict[str, Any]:
    ended = run_here(folder, *SMALL, *CHOSEN, *arguments)
    assert ended.code == 0, ended.err
    (path,) = folder.glob(next(a.removeprefix("hydra.run.dir=") for a in arguments if "run.dir" in a) + "/results.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def manifests(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "store" / stage).glob("*/manifest.json")]


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each evaluation of the prior as an embedder."""
    found: list[int] = []
    direct = PriorNetwork.features

    def features(self: PriorNetwork, images: Tensor) -> Tensor:
        found.extend(range(len(images)))
        return direct(self, images)

    monkeypatch.setattr(PriorNetwork, "features", features)
    return found


def test_other_boxes_are_never_scored_again(tmp_path: Path, evaluated: list[int]) -> None:
    arguments = ("compare=[herding]", "report.maps_per_class=1")
    found = results(tmp_path, *arguments, "hydra.run.dir=first")
    entries = {entry["selection"]: entry for entry in found["results"]}
    assert list(entries["ddselect"]["seconds"]) == [
        "index", "teacher", "test_views", "teacher_check", "prompt", "prior_check", "scoring", "boxes", "embed",
        "selection", "composition", "student",
    ]  # fmt: skip
    assert list(entries["herding"]["seconds"])[4:7] == ["prompt", "teacher_crops", "embed"]
    assert entries["ddselect"]["composition"] == {"factor": 2, "whole": 0.0, "mix_classes": True}  # at IPC 2
    assert entries["herding"]["composition"] == {"factor": 2, "whole": 1.0, "mix_classes": False}  # its own
    assert 0 < found["localisation"]["coverage"] <= 1
    embedded = [manifest["facts"] for manifest in manifests(tmp_path, "embed")]  # the prior's candidates, the teacher's
    assert [facts["images"] + facts["crops"] > 99 for facts in embedded] == [True, True]
    assert len(evaluated) == sum(facts["images"] + facts["crops"] for facts in embedded)
    other = results(tmp_path, *arguments[1:], "boxes.sizes=[0.5,0.75]", "boxes.per_image=2", "ipc=50",
                    "hydra.run.dir=other")  # fmt: skip
    (entry,) = other["results"]
    assert entry["reused"]["scoring"]
    assert not entry["reused"]["boxes"]
    assert entry["composition"] == {"factor": 2, "whole": 1.0, "mix_classes": False}  # at IPC 50
    assert len(manifests(tmp_path, "scoring")) == 1
    assert len(manifests(tmp_path, "boxes")) == 2
