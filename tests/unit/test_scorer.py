"""The score against METHOD, section 1, written out as plain loops."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.scoring.draws import Draws
from ddselect.scoring.scorer import LossError, Maps, best_boxes, difference_maps, image_scores, window
from tests.helpers.models import load_class_unet

HASHES = ["0a", "1b", "2c", "3d", "4e", "5f", "60"]
DRAWS = Draws(4, True, True, (0.2, 0.8), False, 0)
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
    """D(x | y), the change of the prediction, and the mean loss under y."""
    unet = UNet2DModel.from_pretrained(folder / "unet").float().eval()
    patch = json.loads((folder / "model_index.json").read_text())["patch"]
    shape = (3 * patch**2, images.shape[-1] // patch, images.shape[-1] // patch)
    differences, changes, losses = [], [], []
    for i, image in enumerate(images):
        own, other, change = [], [], []
        for k in range(draws.count):
            t = int(draws.timesteps([hashes[i]], 1000)[k, 0])
            noise = draws.noise([hashes[i]], k, shape)[0]
            mine = plain_error(unet, patch, image, t, noise, positive[i])
            own.append(mean_square(mine))
            if reference is not None:
                theirs = plain_error(unet, patch, image, t, noise, reference)
                other.append(mean_square(theirs))
                change.append(mean_square(theirs - mine))
        loss = np.mean(own, axis=0)
        losses.append(loss)
        differences.append(loss - loss.mean() if reference is None else np.mean(other, axis=0) - loss)
        changes.append(differences[-1] if reference is None else np.mean(change, axis=0))
    return np.stack(differences), np.stack(changes), np.stack(losses)


@pytest.mark.parametrize(("positive", "reference"), [([0, 1, 2], NULL), ([NULL] * 3, None)], ids=["label", "none"])
def test_maps_are_the_formula(unet: Denoiser, unet_folder: Path, positive: list[int], reference: int | None) -> None:
    images = random_images(3)
    maps = difference_maps(unet, unet.encode(images), HASHES[:3], torch.tensor(positive), reference, DRAWS)
    difference, change, loss = plain_maps(unet_folder, images, HASHES[:3], positive, reference, DRAWS)
    assert maps.difference.shape == (3, 8, 8)
    assert np.abs(difference).max() > 1e-3  # a model that ignores its condition would prove nothing
    np.testing.assert_allclose(maps.difference.numpy(), difference, atol=1e-5)
    np.testing.assert_allclose(maps.change.numpy(), change, atol=1e-5)
    np.testing.assert_allclose(maps.loss.numpy(), loss, atol=1e-5)
    np.testing.assert_allclose(maps.place(0.25).numpy(), 0.75 * difference + 0.25 * change, atol=1e-5)


def test_draws_are_weighted_by_their_part_of_the_band(unet: Denoiser) -> None:
    latents, positive = unet.encode(random_images(2)), torch.tensor([0, 1])
    weighted = replace(DRAWS, weights=(1.0, 3.0))
    found = difference_maps(unet, latents, HASHES[:2], positive, NULL, weighted)
    total = torch.zeros_like(found.difference)
    for i in range(2):
        timesteps, shares = DRAWS.timesteps([HASHES[i]], 1000)[:, 0], []
        for k, t in enumerate(timesteps.tolist()):
            noise = DRAWS.noise([HASHES[i]], k, (12, 8, 8))
            reference, own = (
                unet.loss(latents[i : i + 1], noise, torch.tensor([t]), torch.tensor([c])) for c in (NULL, i)
            )
            shares.append(3.0 if t >= 500 else 1.0)  # the band is .2 to .8
            total[i] += shares[-1] * (reference - own)[0].detach()
        total[i] /= sum(shares)
    torch.testing.assert_close(found.difference, total, atol=1e-6, rtol=0)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 3.0)], ids=["even", "weighted"])
def test_cross_terms_are_products_of_different_draws(unet: Denoiser, weights: tuple[float, ...]) -> None:
    latents, positive, draws = unet.encode(random_images(2)), torch.tensor([0, 1]), replace(DRAWS, weights=weights)
    plain, half, found = (
        difference_maps(unet, latents, HASHES[:2], positive, NULL, draws, cross).difference for cross in (0.0, 0.5, 1.0)
    )
    timesteps = draws.timesteps(HASHES[:2], 1000)
    share = draws.weights_at(timesteps, 1000)
    for i in range(2):
        errors = []
        for k in range(draws.count):
            noise, t = draws.noise([HASHES[i]], k, (12, 8, 8)), timesteps[k, i : i + 1]
            errors.append([unet.error(latents[i : i + 1], noise, t, torch.tensor([c]))[0].detach() for c in (i, NULL)])
        total, weight = torch.zeros(8, 8), 0.0
        for j, k in permutations(range(draws.count), 2):
            gap, both = errors[j][1] - errors[j][0], errors[k][1] + errors[k][0]
            total += share[j, i] * share[k, i] * (gap * both).mean(0)
            weight += float(share[j, i] * share[k, i])
        torch.testing.assert_close(found[i], total / weight, atol=1e-5, rtol=0)
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
        torch.testing.assert_close(part.change, whole.change[order], atol=1e-6, rtol=0)
        torch.testing.assert_close(part.loss, whole.loss[order], atol=1e-6, rtol=0)


def test_same_condition_twice_gives_no_difference(unet: Denoiser) -> None:
    maps = difference_maps(unet, unet.encode(random_images(2)), HASHES[:2], torch.full((2,), NULL), NULL, DRAWS)
    assert maps.difference.abs().max() < 1e-6
    assert maps.change.max() < 1e-9
    assert maps.loss.min() > 0


def test_scores_follow_content_hash_and_seed(unet: Denoiser) -> None:
    def score(hashes: list[str], seed: int) -> Tensor:
        draws = Draws(4, True, True, (0.2, 0.8), False, seed)
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


@pytest.mark.parametrize("sigma", [None, 0.7, 3.0])
def test_window_weights(sigma: float | None) -> None:
    weights = window(4, sigma)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(weights, weights.T)
    assert torch.allclose(weights, weights.flip(0))
    if sigma:
        assert (weights[1, 1] / weights[0, 1]).item() == pytest.approx(np.exp((1.5**2 - 0.5**2) / (2 * sigma**2)))
    else:
        assert (weights == 1 / 16).all()


def brute_boxes(plane: np.ndarray, weights: np.ndarray, count: int) -> list[tuple[float, int, int]]:
    """Best first: the best box that overlaps none chosen before."""
    side, chosen = len(weights), []
    places = [(x, y) for y in range(plane.shape[0] - side + 1) for x in range(plane.shape[1] - side + 1)]
    for _ in range(count):
        best = None
        for x, y in places:
            if any(abs(x - cx) < side and abs(y - cy) < side for _, cx, cy in chosen):
                continue
            score = float((np.maximum(plane[y : y + side, x : x + side], 0) * weights).sum())
            if best is None or score > best[0]:
                best = (score, x, y)
        if best is None:
            break
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("sigma", [None, 1.0])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_best_boxes_against_brute_force(sigma: float | None, side: int) -> None:
    random, count = np.random.default_rng(side), 4
    difference, place = random.normal(size=(2, 6, 7, 7)).astype(np.float32)
    loss = random.random((6, 7, 7)).astype(np.float32)
    maps = Maps(torch.tensor(difference), torch.zeros(6, 7, 7), torch.tensor(loss))
    found = best_boxes(torch.tensor(place), [window(side, sigma)], count)
    scores, losses = found.mean(maps.difference), found.mean(maps.loss)
    for i in range(6):
        wanted = brute_boxes(place[i], window(side, sigma).numpy(), count)
        for k, (_, x, y) in enumerate(wanted):
            assert found.corner[i, k].tolist() == [x, y]
            part = (slice(y, y + side), slice(x, x + side))
            assert scores[i, k].item() == pytest.approx(difference[i][part].mean(), abs=1e-5)
            assert losses[i, k].item() == pytest.approx(loss[i][part].mean(), abs=1e-5)
        assert found.exists[i].tolist() == [True] * len(wanted) + [False] * (count - len(wanted))


def test_no_room_for_a_second_box() -> None:
    plane = torch.rand(2, 5, 5)
    found = best_boxes(plane, [window(5, None)], 3)
    assert found.exists.tolist() == [[True, False, False]] * 2
    assert found.corner[:, 0].tolist() == [[0, 0]] * 2


def test_negative_positions_do_not_push_a_box_off_its_object() -> None:
    plane = torch.zeros(1, 6, 6)
    plane[0, 2:4, 2:4] = 1
    plane[0, 1, :] = -10  # clamped for the place, not for the score
    maps = Maps(plane, plane, torch.zeros_like(plane))
    assert best_boxes(plane, [window(4, 1.0)], 1).corner[0, 0].tolist() == [1, 1]
    assert image_scores(maps).item() == pytest.approx((4 - 60) / 36)
