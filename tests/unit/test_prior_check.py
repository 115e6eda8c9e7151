"""The prior as a classifier of a few images."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddselect.prompt.modes import LabelPromptConfig, NoPromptConfig, TextPromptConfig
from ddselect.scoring.draws import Draws
from ddselect.scoring.prior_check import losses_under
from tests.fault.runs import SMALL, run_here
from tests.helpers.models import load_class_unet, write_class_unet


def test_losses_do_not_depend_on_the_conditions_beside(tmp_path: Path) -> None:
    """The same draws for all conditions, and the mean that a loop over draws and conditions has."""
    denoiser = load_class_unet(write_class_unet(tmp_path))
    latents, hashes = torch.randn(3, 12, 8, 8), ["a", "b", "c"]
    draws = Draws(4, True, (0.3, 0.65), 0)
    conditions = torch.tensor([[0, 1, 2], [2, 0, 1], [1, 1, 0]])
    found = losses_under(denoiser, latents, hashes, conditions, draws)
    times = draws.timesteps(hashes, len(denoiser.schedule))

    def one(condition: Tensor) -> Tensor:
        noise = (draws.noise(hashes, draw, (12, 8, 8)) for draw in range(4))
        with torch.inference_mode():
            losses = [denoiser.loss(latents, each, times[draw], condition) for draw, each in enumerate(noise)]
        return torch.stack(losses).mean((0, 2, 3))

    expected = torch.stack([one(conditions[:, column]) for column in range(3)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_which_prompts_tell_classes_apart() -> None:
    assert LabelPromptConfig().tells_classes
    assert not NoPromptConfig().tells_classes
    assert TextPromptConfig().tells_classes
    assert TextPromptConfig(templates=["a digit"], descriptions="words.csv").tells_classes
    assert not TextPromptConfig(templates=["a digit"]).tells_classes


@pytest.mark.slow
def test_a_prior_that_knows_nothing_is_refused_before_scoring(tmp_path: Path) -> None:
    names = [str(number) for number in range(10)]
    write_class_unet(tmp_path / "prior", names, image_size=32)
    words = (*SMALL, "backbone=class_unet", f"backbone.path={tmp_path / 'prior'}", "stages=[scoring]")
    message = run_here(tmp_path, *words).assert_one_line(2)
    assert "near chance (20.0 %)" in message
    assert not (tmp_path / "store" / "scoring").exists()
    assert run_here(tmp_path, *words, "scoring.check_prior=false").code == 0


@pytest.mark.slow
def test_a_prior_that_knows_the_classes_is_stated(tmp_path: Path) -> None:
    from ddselect.runtime.files import read_json

    assert run_here(tmp_path, *SMALL, "evaluation.quality=false", "student=small_resnet16").code == 0
    [results] = tmp_path.glob("outputs/**/results.json")
    prior = read_json(results)["prior"]
    assert prior["name"] == "embedded"
    assert prior["chance"] == 20
    assert prior["top1"] > 60
    assert "% of 50 images, among 5 classes" in results.with_name("report.html").read_text()
