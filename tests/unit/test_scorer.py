"""The score against METHOD, section 1, written out as plain loops."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.scoring.draws import Draws
from ddselect.scoring.scorer import LossError, difference_maps
from tests.helpers.models import load_class_unet

HASHES = ["0a", "1b", "2c", "3d", "4e", "5f", "60"]
DRAWS = Draws(4, True, (0.2, 0.8), 0)
NULL = 3


def random_images(count: int, side: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def plain_error(unet: UNet2DModel, patch: int, image: Tensor, t: int, noise: Tensor, condition: int) -> np.ndarray:
    """The prediction's error [c, h, w] for a network that predicts epsilon under the cosine schedule."""
    betas = []
    for i in range(t + 1):
        now, then = (np.cos((s / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 for s in (i, i + 1))
        betas.append(min(1 - then / now, 0.999))
    alpha_bar = np.prod([1 - beta for beta in betas])
    side = image.shape[-1] // patch
    z0 = np.zeros((3 * patch**2, side, side))
    for colour in range(3):
        for dy in range(patch):
            for dx in range(patch):
                channel = (colour * patch + dy) * patch + dx
                z0[channel] = image[colour, dy::patch, dx::patch].numpy() / 127.5 - 1
    eps = noise.double().numpy()
    noisy = torch.tensor(np.sqrt(alpha_bar) * z0 + np.sqrt(1 - alpha_bar) * eps, dtype=torch.float32)
    with torch.no_grad():
        prediction = unet(noisy[None], t, class_labels=torch.tensor([condition])).sample[0].double().numpy()
    return np.asarray(prediction - eps)


def mean_square(values: np.ndarray) -> np.ndarray:
    """(c, h, w) to (h, w), position by position: L of METHOD for an error."""
    channels, height, width = values.shape
    mean = np.zeros((height, width))
    for h in range(height):
        for w in range(width):
            mean[h, w] = sum(values[c, h, w] ** 2 for c in range(channels)) / channels
    return mean


def plain_maps(
    folder: Path, images: Tensor, hashes: list[str], positive: list[int], reference: int | None, draws: Draws
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """D(x | y), the prediction shift, and the score of each image."""
    unet = UNet2DModel.from_pretrained(folder / "unet").float().eval()
    patch = json.loads((folder / "model_index.json").read_text())["patch"]
    shape = (3 * patch**2, images.shape[-1] // patch, images.shape[-1] // patch)
    differences, shifts, scores = [], [], []
    for i, image in enumerate(images):
        own, other, shift = [], [], []
        for k in range(draws.count):
            t = int(draws.timesteps([hashes[i]], 1000)[k, 0])
            noise = draws.noise([hashes[i]], k, shape)[0]
            mine = plain_error(unet, patch, image, t, noise, positive[i])
            own.append(mean_square(mine))
            if reference is not None:
                theirs = plain_error(unet, patch, image, t, noise, reference)
                other.append(mean_square(theirs))
                shift.append(mean_square(theirs - mine))
        loss = np.mean(own, axis=0)
        differences.append(loss - loss.mean() if reference is None else np.mean(other, axis=0) - loss)
        shifts.append(differences[-1] if reference is None else np.mean(shift, axis=0))
        scores.append(0 if reference is None else differences[-1].mean() / np.mean(other))
    return np.stack(differences), np.stack(shifts), np.array(scores)


@pytest.mark.parametrize(("positive", "reference"), [([0, 1, 2], NULL), ([NULL] * 3, None)], ids=["label", "none"])
def test_maps_are_the_formula(unet: Denoiser, unet_folder: Path, positive: list[int], reference: int | None) -> None:
    images = random_images(3)
    maps = difference_maps(unet, unet.encode(images), HASHES[:3], torch.tensor(positive), reference, DRAWS)
    difference, shift, scores = plain_maps(unet_folder, images, HASHES[:3], positive, reference, DRAWS)
    assert maps.difference.shape == (3, 8, 8)
    assert np.abs(difference).max() > 1e-3  # a model that ignores its condition would prove nothing
    np.testing.assert_allclose(maps.difference.numpy(), difference, atol=1e-5)
    np.testing.assert_allclose(maps.prediction_shift.numpy(), shift, atol=1e-5)
    np.testing.assert_allclose(maps.image_score.numpy(), scores, atol=1e-5)
    np.testing.assert_allclose(maps.placement(0.25).numpy(), 0.75 * difference + 0.25 * shift, atol=1e-5)


def test_cross_terms_are_products_of_different_draws(unet: Denoiser) -> None:
    latents, positive = unet.encode(random_images(2)), torch.tensor([0, 1])
    plain, half, found = (
        difference_maps(unet, latents, HASHES[:2], positive, NULL, DRAWS, cross).difference for cross in (0.0, 0.5, 1.0)
    )
    timesteps = DRAWS.timesteps(HASHES[:2], 1000)
    for i in range(2):
        errors = []
        for k in range(DRAWS.count):
            noise, t = DRAWS.noise([HASHES[i]], k, (12, 8, 8)), timesteps[k, i : i + 1]
            errors.append([unet.error(latents[i : i + 1], noise, t, torch.tensor([c]))[0].detach() for c in (i, NULL)])
        pairs = [
            ((errors[j][1] - errors[j][0]) * (errors[k][1] + errors[k][0])).mean(0)
            for j, k in permutations(range(DRAWS.count), 2)
        ]
        torch.testing.assert_close(found[i], torch.stack(pairs).mean(0), atol=1e-5, rtol=0)
    assert (found - plain).abs().max() > 1e-3
    torch.testing.assert_close(half, (plain + found) / 2, atol=1e-6, rtol=0)


def test_without_a_reference_condition_there_are_no_cross_terms(unet: Denoiser) -> None:
    latents, positive = unet.encode(random_images(2)), torch.tensor([NULL, NULL])
    plain, mixed = (difference_maps(unet, latents, HASHES[:2], positive, None, DRAWS, cross) for cross in (0.0, 0.5))
    assert torch.equal(plain.difference, mixed.difference)


@pytest.mark.parametrize("reference", [NULL, None])
def test_batch_size_and_order_change_nothing(unet: Denoiser, reference: int | None) -> None:
    images, positive = random_images(7), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    whole = difference_maps(unet, unet.encode(images), HASHES, positive, reference, DRAWS)
    for order in ([0], [4], [6, 2, 5, 0, 1, 4, 3], [3, 3]):
        hashes = [HASHES[i] for i in order]
        part = difference_maps(unet, unet.encode(images[order]), hashes, positive[order], reference, DRAWS)
        torch.testing.assert_close(part.difference, whole.difference[order], atol=1e-6, rtol=0)
        torch.testing.assert_close(part.prediction_shift, whole.prediction_shift[order], atol=1e-6, rtol=0)


def test_same_condition_twice_gives_no_difference(unet: Denoiser) -> None:
    maps = difference_maps(unet, unet.encode(random_images(2)), HASHES[:2], torch.full((2,), NULL), NULL, DRAWS)
    assert maps.difference.abs().max() < 1e-6
    assert maps.prediction_shift.max() < 1e-9


def test_scores_follow_content_hash_and_seed(unet: Denoiser) -> None:
    def score(hashes: list[str], seed: int) -> Tensor:
        draws = Draws(4, True, (0.2, 0.8), seed)
        latents = unet.encode(random_images(1))
        return difference_maps(unet, latents, hashes, torch.tensor([1]), NULL, draws).difference

    base = score(["0a"], 0)
    assert torch.equal(base, score(["0a"], 0))
    assert not torch.equal(base, score(["1b"], 0))
    assert not torch.equal(base, score(["0a"], 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("half", ["positive", "reference"])
def test_a_loss_that_is_not_finite_names_image_timestep_and_backbone(unet_folder: Path, bad: float, half: str) -> None:
    class Poisoned:
        """Breaks image 1 of 3 at the third draw, under one of the two conditions."""

        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
            out = noisy.clone()
            self.calls += 1
            if self.calls == 3:
                out[1 if half == "positive" else 4, 0, 0, 0] = bad
            return out

    denoiser = load_class_unet(unet_folder)
    denoiser.predict = Poisoned()  # type: ignore[method-assign]
    timestep = int(DRAWS.timesteps(["1b"], 1000)[2, 0])
    with pytest.raises(LossError, match=rf"the loss at timestep {timestep} is not finite with backbone tiny") as caught:
        difference_maps(denoiser, denoiser.encode(random_images(3)), HASHES[:3], torch.tensor([0, 1, 2]), NULL, DRAWS)
    assert caught.value.position == 1
    assert "\n" not in str(caught.value)
    assert "dtype=fp32" not in str(caught.value)  # which it is


@pytest.mark.parametrize(
    ("dtype", "said"), [(torch.float32, "its weights may be damaged"), (torch.float16, "try backbone.dtype=fp32")]
)
def test_what_to_try_is_not_what_it_is_already(unet_folder: Path, dtype: torch.dtype, said: str) -> None:
    denoiser = load_class_unet(unet_folder)
    denoiser.dtype = dtype
    assert denoiser.remedy.startswith(said)
