"""Which stages are made for those that are named."""

import pytest
from hydra import compose, initialize_config_dir

from ddselect.config import build_experiment, conf_dir
from ddselect.wanted import NEEDS, STAGES, wanted_stages

SCORES = {"index", "prompt", "scoring"}
SELECTED = {*SCORES, "teacher", "confidence", "styles", "selection"}


def wanted(*overrides: str) -> set[str]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return set(wanted_stages(build_experiment(compose("config", ["compare=[]", *overrides]))))


def test_every_stage_comes_after_those_that_it_needs() -> None:
    for name, needed in NEEDS.items():
        assert all(STAGES.index(before) < STAGES.index(name) for before in needed), name


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["stages=[index]"], {"index"}),
        (["stages=[teacher]"], {"index", "teacher"}),
        (["stages=[scoring]"], SCORES),
        (["stages=[scoring]", "scoring.keep_latents=true"], {*SCORES, "latents"}),
        (["stages=[scoring]", "pool=mixed"], {*SCORES, "pool"}),
        (["stages=[scoring]", "backbone/adapt=full"], {*SCORES, "backbone"}),
        (["stages=[scoring]", "selection=random_image"], SCORES),
        (["stages=[boxes]", "boxes=scales"], {*SCORES, "boxes"}),
        (["stages=[boxes]", "boxes=scales", "selection=rded"], {*SCORES, "boxes"}),
        (["stages=[selection]", "boxes=scales"], {*SELECTED, "boxes"}),
        (
            ["stages=[features]", "embed=backbone", "selection=herding"],
            {"index", "teacher", "losses", "prompt", "features"},
        ),
        (["stages=[pilot]"], {"index", "prompt", "pilot"}),
        (["stages=[selection]"], SELECTED),
        (["stages=[selection]", "selection.confidence=0"], SELECTED - {"confidence", "teacher"}),
        (["stages=[selection]", "selection.crop_pick=best"], {*SELECTED, "features"}),
        (["stages=[selection]", "ipc=50"], {*SELECTED, "features"}),
        (["stages=[selection]", "ipc=50", "protocol=digits_hard"], SELECTED),
        (["stages=[selection]", "selection.crop_pick=top", "selection.image_pick=top"], SELECTED - {"styles"}),
        (["stages=[styles]", "boxes=scales"], {*SCORES, "boxes", "styles"}),
        (["stages=[confidence]", "boxes=scales"], {*SCORES, "teacher", "boxes", "confidence"}),
        (["stages=[selection]", "selection=random_crop"], {"index", "selection"}),
        (["stages=[selection]", "selection=random_crop", "pool=generated"], {"index", "prompt", "pool", "selection"}),
        (["stages=[selection]", "selection=rded"], {"index", "teacher", "losses", "selection"}),
        (["stages=[composition,real]"], {*SELECTED, "composition", "real"}),
        (["stages=[relabel]", "relabel=logits"], {*SELECTED, "composition", "relabel"}),
        (["stages=[student]"], {*SELECTED, "composition", "student"}),
        ([], {*SELECTED, "composition", "real", "quality", "student", "report"}),
        (["evaluation.quality=false"], {*SELECTED, "composition", "student", "report"}),
        (["selection=all"], {"index", "teacher", "selection", "composition", "student", "report"}),
    ],
)
def test_what_is_needed_is_made_and_nothing_beyond(overrides: list[str], found: set[str]) -> None:
    assert wanted(*overrides) == found
