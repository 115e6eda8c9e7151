"""Generated candidates, and DD-Ranking, through every stage."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fault.runs import SMALL, run_here

pytestmark = pytest.mark.slow
FEW = ("pool.per_class=3", "pool.steps=2", "evaluation.quality=false", "composition.whole=0.5")


def results(folder: Path, *arguments: str) -> dict[str, Any]:
    ended = run_here(folder, *SMALL, *arguments, "hydra.run.dir=run", "trainer.students=1")
    assert ended.code == 0, ended.err
    content: dict[str, Any] = json.loads((folder / "run" / "results.json").read_text())
    return content


def sources(folder: Path, fingerprint: str) -> set[str]:
    """Where the patches of a distilled set come from."""
    lines = (folder / "store" / "composition" / fingerprint / "distilled" / "metadata.jsonl").read_text().splitlines()
    return {patch["source"].split("/")[0] for line in lines for patch in json.loads(line)["patches"]}


def test_every_selection_takes_real_and_generated_images_but_all_data_are_real(tmp_path: Path) -> None:
    found = results(tmp_path, "pool=mixed", *FEW, "ipc=9", "compare=[random_image,herding,all]")
    entries = {entry["selection"]: entry for entry in found["results"]}
    assert {name: entry["pool"] for name, entry in entries.items()} == {
        "ddselect": "mixed", "random_image": "mixed", "herding": "mixed", "all": "real",
    }  # fmt: skip
    for name in ("ddselect", "random_image", "herding"):
        assert sources(tmp_path, entries[name]["fingerprints"]["composition"]) == {"generated", "train"}
    assert sources(tmp_path, entries["all"]["fingerprints"]["composition"]) == {"train"}
    assert "pool" not in entries["all"]["fingerprints"]
    assert entries["all"]["training_images"] == 100


def test_prototypes_need_no_scores(tmp_path: Path) -> None:
    found = results(tmp_path, "pool=prototypes", "pool.steps=2", "selection=random_image", "compare=[]")
    (entry,) = found["results"]
    assert entry["training_images"] == 20
    assert "scoring" not in entry["fingerprints"]
    assert len(list(tmp_path.glob("store/pool/*/images/*/*.png"))) == 20  # as many as the distilled images


def test_dd_ranking_trains_what_it_needs(tmp_path: Path) -> None:
    found = results(tmp_path, "evaluation.dd_ranking=true", "evaluation.quality=false")
    assert [entry["selection"] for entry in found["results"]] == ["ddselect", "random_image", "all"]
    (scores,) = found["dd_ranking"]["scores"]
    assert (scores["selection"], scores["seeds"], scores["hlr_std"]) == ("ddselect", 1, None)
    assert -1 <= scores["hlr"] <= 1
    assert -1 <= scores["ior"] <= 1
    assert 0 <= scores["lrs"] <= 1
    assert 0 <= scores["ars"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pool=generated", "prompt=none"), "pool=generated: prompt=none does not say which class to make"),
        (("pool=mixed", "evaluation.dd_ranking=true"), "evaluation.dd_ranking=true compares with random real images"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert message in run_here(tmp_path, *arguments).assert_one_line(2)
