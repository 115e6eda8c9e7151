"""The prior in the package works with the scorer. How well it localises is measured elsewhere."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from ddselect.backbone.choice import ClassUNetConfig
from ddselect.backbone.denoiser import Denoiser
from ddselect.boxes.search import image_boxes, window
from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.classes import class_list
from ddselect.dataset.index import Index
from ddselect.dataset.scenes import CLASS_NAMES
from ddselect.prompt.modes import LabelPromptConfig
from ddselect.scoring.draws import Draws
from ddselect.scoring.maps import Maps
from ddselect.scoring.scorer import difference_maps
from ddselect.scoring.settings import ScoringConfig
from tests.helpers.models import CPU
from tests.unit.test_scorer import plain_maps

DRAWS = Draws(2, True, (0.2, 0.8), 0)


def embedded(dtype: str) -> ClassUNetConfig:
    return ClassUNetConfig("embedded", "embedded", 32, dtype)


@pytest.fixture(scope="module")
def prior() -> Denoiser:
    return embedded("fp32").load(CPU)


def test_it_knows_the_digits(prior: Denoiser) -> None:
    names = list(CLASS_NAMES)
    conditions = embedded("fp32").conditions(LabelPromptConfig(), names, names, CPU)
    assert conditions.positive == list(range(10))
    assert conditions.reference == 10
    patch = prior.latents.downsampling
    assert prior.latent_shape(32) == (3 * patch**2, 32 // patch, 32 // patch)
    assert not any(p.requires_grad for p in prior.parameters())


def test_the_one_for_cifar10_knows_its_classes() -> None:
    option = ClassUNetConfig("cifar10", "cifar10", 32, "fp32")
    names = class_list("cifar10")
    assert option.conditions(LabelPromptConfig(), names, names, CPU).positive == list(range(10))
    assert option.load(CPU).latent_shape(32) == (12, 16, 16)


def test_maps_are_the_formula_whatever_the_batch(prior: Denoiser, scenes: Index) -> None:
    index = scenes.split("test")
    rows = [0, 7, 13, 19]
    images = torch.stack([index.read(row, 32) for row in rows])
    hashes = [index.table["hash"][row].as_py() for row in rows]
    positive = torch.tensor(index.labels[rows])
    together = difference_maps(prior, prior.encode(images), hashes, positive, 10, DRAWS)
    for i in range(len(rows)):
        alone = difference_maps(
            prior, prior.encode(images[i : i + 1]), hashes[i : i + 1], positive[i : i + 1], 10, DRAWS
        )
        torch.testing.assert_close(alone.difference[0], together.difference[i], atol=1e-6, rtol=0)
    folder = Path(str(files("ddselect.backbone") / "embedded"))
    difference, shift, scores = plain_maps(folder, images[:2], hashes[:2], positive[:2].tolist(), 10, DRAWS)
    np.testing.assert_allclose(together.difference[:2].numpy(), difference, atol=1e-5)
    np.testing.assert_allclose(together.prediction_shift[:2].numpy(), shift, atol=1e-5)
    np.testing.assert_allclose(together.image_score[:2].numpy(), scores, atol=1e-5)


@pytest.mark.slow
def test_bf16_ranks_patches_as_fp32_does(prior: Denoiser, scenes: Index) -> None:
    """With the default draws and window: the best box of each of 60 scenes, and every window of every scene."""
    index, settings = scenes.split("train"), BoxesConfig()
    images, labels = index.read_all(32), torch.tensor(index.labels)
    hashes = index.table["hash"].to_pylist()

    def patches(denoiser: Denoiser) -> tuple[Maps, Tensor, Tensor]:
        """Maps, score of the best box (N,) and of every window (N, places)."""
        maps = difference_maps(denoiser, denoiser.encode(images), hashes, labels, 10, ScoringConfig().make_draws())
        side = round(settings.sizes[0] * maps.difference.shape[-1])
        placement = maps.placement(settings.prediction_shift_weight).clamp(min=0)
        windows = F.conv2d(placement[:, None], window(side, settings.sigma * side)[None, None]).flatten(1)
        return maps, image_boxes(maps, settings)[1][:, 0], windows

    exact_maps, exact_boxes, exact = patches(prior)
    rough_maps, rough_boxes, rough = patches(embedded("bf16").load(CPU))
    assert len(images) == 60
    assert not torch.equal(exact_maps.difference, rough_maps.difference)  # it did compute in another precision
    assert spearmanr(exact_boxes, rough_boxes).statistic >= 0.98
    assert spearmanr(exact.flatten(), rough.flatten()).statistic >= 0.98
    within = [spearmanr(a, b).statistic for a, b in zip(exact, rough, strict=True)]
    assert np.mean(within) >= 0.98  # within an image it decides where the box goes
