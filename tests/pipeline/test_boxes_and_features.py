"""Boxes of several sizes, the prior's own features and the automatic share of whole images, through every stage."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fault.runs import SMALL, run_here

pytestmark = pytest.mark.slow
CHOSEN = ("boxes=scales", "embed=backbone", "composition=auto", "evaluation.quality=false", "trainer.students=1",
          "selection.crop_pick=best",
          "dataset.sizes.train=50", "dataset.sizes.test=20", "protocol.steps=2", "protocol.evaluations=1")  # fmt: skip


def results(folder: Path, *arguments: str) -> dict[str, Any]:
    ended = run_here(folder, *SMALL, *CHOSEN, *arguments)
    assert ended.code == 0, ended.err
    (path,) = folder.glob(next(a.removeprefix("hydra.run.dir=") for a in arguments if "run.dir" in a) + "/results.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def manifests(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "store" / stage).glob("*/manifest.json")]


def test_other_boxes_are_never_scored_again(tmp_path: Path) -> None:
    arguments = ("compare=[herding]", "report.maps_per_class=1")
    found = results(tmp_path, *arguments, "hydra.run.dir=first")
    entries = {entry["selection"]: entry for entry in found["results"]}
    assert list(entries["diffusion"]["seconds"]) == [
        "index", "teacher", "prompt", "scoring", "boxes", "features", "confidence", "styles", "selection",
        "composition", "student",
    ]  # fmt: skip
    assert list(entries["herding"]["seconds"])[2:5] == ["prompt", "losses", "features"]
    assert entries["diffusion"]["composition"] == {"factor": 2, "whole": 0.0, "mix_classes": True}  # at IPC 2
    assert entries["herding"]["composition"] == {"factor": 2, "whole": 1.0, "mix_classes": False}  # its own
    assert 0 < found["localisation"]["coverage"] <= 1
    for manifest in manifests(tmp_path, "features"):  # of the prior's candidates, and of the teacher's
        facts = manifest["facts"]
        assert facts["network_evaluations"] == facts["images"] + facts["crops"] > 99
    other = results(tmp_path, *arguments[1:], "boxes.sizes=[0.5,0.75]", "boxes.per_image=2", "ipc=50",
                    "hydra.run.dir=other")  # fmt: skip
    (entry,) = other["results"]
    assert entry["reused"]["scoring"]
    assert not entry["reused"]["boxes"]
    assert entry["composition"] == {"factor": 2, "whole": 1.0, "mix_classes": False}  # at IPC 50
    assert len(manifests(tmp_path, "scoring")) == 1
    assert len(manifests(tmp_path, "boxes")) == 2
