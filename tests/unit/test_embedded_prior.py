"""The prior in the package works with the scorer. How well it localises is measured elsewhere."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from ddselect.backbone.choice import ClassUNetBackbone
from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from ddselect.dataset.scenes import CLASS_NAMES
from ddselect.prompt.modes import LabelPrompt
from ddselect.scoring.draws import Draws
from ddselect.scoring.scorer import difference_maps
from tests.helpers.models import CPU
from tests.unit.test_scorer import plain_maps

DRAWS = Draws(2, True, (0.2, 0.8), False, 0)


@pytest.fixture(scope="module")
def prior() -> Denoiser:
    return ClassUNetBackbone("embedded", "embedded", 32, "fp32").load(CPU)


def test_it_knows_the_digits(prior: Denoiser) -> None:
    names = list(CLASS_NAMES)
    conditions = LabelPrompt().conditions(prior, names, names)
    assert conditions.positive == list(range(10))
    assert conditions.reference == 10
    assert prior.latent_shape(32) == (3 * prior.downsampling**2, 32 // prior.downsampling, 32 // prior.downsampling)
    assert not any(p.requires_grad for p in prior.parameters())


def test_maps_are_the_formula_whatever_the_batch(prior: Denoiser, scenes: Index) -> None:
    index = scenes.split("test")
    rows = [0, 7, 13, 19]
    images = torch.stack([index.read(row, 32) for row in rows])
    hashes = [index.table["hash"][row].as_py() for row in rows]
    positive = torch.tensor(index.labels[rows])
    together = difference_maps(prior, images, hashes, positive, 10, DRAWS)
    for i in range(len(rows)):
        alone = difference_maps(prior, images[i : i + 1], hashes[i : i + 1], positive[i : i + 1], 10, DRAWS)
        torch.testing.assert_close(alone.difference[0], together.difference[i], atol=1e-6, rtol=0)
    folder = Path(str(files("ddselect.backbone") / "embedded"))
    difference, loss = plain_maps(folder, images[:2], hashes[:2], positive[:2].tolist(), 10, DRAWS)
    np.testing.assert_allclose(together.difference[:2].numpy(), difference, atol=1e-5)
    np.testing.assert_allclose(together.loss[:2].numpy(), loss, atol=1e-5)
