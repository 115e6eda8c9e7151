"""The shipped prior finds the digit: its quality is a golden value, far above chance."""

from pathlib import Path

import pytest

from ddselect.backbone.choice import ClassUNetConfig
from ddselect.boxes.search import search_boxes
from ddselect.boxes.settings import BoxesConfig
from ddselect.evaluation.localisation import measure_localisation
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig
from tests.helpers.data import scene_index
from tests.helpers.models import conditions_of


@pytest.mark.slow
def test_the_maps_of_the_embedded_prior_find_the_digit(tmp_path: Path) -> None:
    index = scene_index(tmp_path / "index", train=200).split("train")
    settings = TrainerConfig()
    backbone = ClassUNetConfig("embedded", "embedded", 32, "fp32")
    denoiser = backbone.load(settings.device)
    conditions, maps = conditions_of(backbone, index), tmp_path / "maps"
    score_images(index, denoiser, conditions, ScoringConfig(), 32, settings.parallel, maps)
    search_boxes(index, maps, boxes := BoxesConfig(), tmp_path / "boxes")
    found = measure_localisation(index, tmp_path / "boxes", maps, boxes.prediction_shift_weight, 32)
    assert found is not None
    assert found["pointing_game"] >= 92 > 20 > found["pointing_game_chance"]
    assert found["coverage"] >= 0.89 > 0.5 > found["coverage_chance"]
