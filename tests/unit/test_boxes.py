"""Boxes from kept maps."""

import re
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.boxes.search import best_boxes, image_boxes, search_boxes, window
from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.images import square_box
from ddselect.dataset.index import Index
from ddselect.pilot.fidelity import intersection_over_union
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.maps import map_shards, packed, read_maps, read_shards, write_rows
from ddselect.scoring.module import score_images
from ddselect.scoring.scorer import difference_maps
from ddselect.scoring.settings import ScoringConfig
from ddselect.scoring.table import crops_of, read_scores

SIDE = 8  # positions of the planes made here
SETTINGS = ScoringConfig(draws=1, antithetic=False, cross_draw_weight=0.0, shard_size=40, batch_size=30)


def brute_boxes(place: np.ndarray, windows: list[np.ndarray], count: int, overlap: float) -> list[tuple[int, ...]]:
    """x, y, side of the best boxes of a plane, one after another."""
    every = []
    for weights in windows:
        side = len(weights)
        for y in range(len(place) - side + 1):
            for x in range(len(place) - side + 1):
                worth = float((place[y : y + side, x : x + side].clip(0) * weights).sum())
                every.append((worth, (x, y, side)))
    found: list[tuple[int, ...]] = []
    for _, box in sorted(every, key=lambda item: -item[0]):
        corners = np.array([[x, y, x + side, y + side] for x, y, side in (box, *found)])
        if len(found) < count and (intersection_over_union(corners[1:], corners[:1]) <= overlap).all():
            found.append(box)
    return found


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


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.6])
def test_several_sizes_against_brute_force(overlap: float) -> None:
    random = np.random.default_rng(0)
    place = random.normal(size=(5, SIDE, SIDE)).astype(np.float32)
    windows = [3.0 * window(3, 1.0), 4.0 * window(4, None), 6.0 * window(6, 2.0)]
    found = best_boxes(torch.from_numpy(place), windows, 6, overlap)
    means = found.mean(torch.from_numpy(place)).numpy()
    for i in range(5):
        wanted = brute_boxes(place[i], [weights.numpy() for weights in windows], 6, overlap)
        assert found.exists[i].tolist() == [True] * len(wanted) + [False] * (6 - len(wanted))
        for k, (x, y, side) in enumerate(wanted):
            assert [*found.corner[i, k].tolist(), int(found.side[i, k])] == [x, y, side]
            assert means[i, k] == pytest.approx(place[i, y : y + side, x : x + side].mean(), abs=1e-5)
    assert len(set(found.side[found.exists].tolist())) > 1


def test_no_room_for_a_second_box() -> None:
    plane = torch.rand(2, 5, 5)
    found = best_boxes(plane, [window(5, None)], 3)
    assert found.exists.tolist() == [[True, False, False]] * 2
    assert found.corner[:, 0].tolist() == [[0, 0]] * 2


def test_negative_positions_do_not_push_a_box_off_its_object() -> None:
    plane = torch.zeros(1, 6, 6)
    plane[0, 2:4, 2:4] = 1
    plane[0, 1, :] = -10  # clamped for the place, not for the score
    found = best_boxes(plane, [window(4, 1.0)], 1)
    assert found.corner[0, 0].tolist() == [1, 1]
    assert found.mean(plane).item() == pytest.approx((4 - 40) / 16)


@pytest.fixture(scope="module")
def scored(animals: Index, unet: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scoring."""
    folder = tmp_path_factory.mktemp("scored")
    score_images(animals, unet, Conditions([0, 1, 2], 3), SETTINGS, 16, TrainerConfig().parallel, folder)
    return folder


def write_maps(folder: Path, images: Index, difference: Tensor, shift: Tensor) -> Path:
    """A finished scoring with some maps (n, h, w)."""
    planes = {"difference": packed(difference), "prediction_shift": packed(shift)}
    rows = [
        {"id": image, "label": 0, "image_score": 0.0, **{name: kept[row].tobytes() for name, kept in planes.items()}}
        for row, image in enumerate(images.ids)
    ]
    write_rows(map_shards(folder, len(rows), len(rows)).path(0), rows)
    return folder


CHOICES: list[dict[str, Any]] = [
    {},
    {"sizes": [0.25]},
    {"sizes": [0.25, 0.5, 0.75], "per_image": 3},
    {"sizes": [0.25, 0.5, 0.75], "per_image": 3, "overlap": 0.4},
    {"sizes": [0.25, 0.5], "exponent": 0.75},
    {"sigma": 0.0},
    {"prediction_shift_weight": 0.0},
]


def test_every_choice_is_made_from_a_finished_scoring_without_the_network(
    animals: Index, unet: Denoiser, scored: Path, tmp_path: Path
) -> None:
    """Each as from the unrounded maps, in nearly all images."""
    assert {name for choice in CHOICES for name in choice} == {field.name for field in fields(BoxesConfig)}
    hashes, labels = animals.table["hash"].to_pylist(), torch.from_numpy(animals.labels)
    latents = unet.encode(animals.read_all(16))
    maps = difference_maps(unet, latents, hashes, labels, 3, SETTINGS.make_draws())
    found = []
    for number, choice in enumerate(CHOICES):
        settings, folder = BoxesConfig(**choice), tmp_path / str(number)
        facts = search_boxes(animals, scored, settings, folder)
        table = read_scores(folder)
        crops = crops_of(table)
        assert facts == {"images": 90, "boxes": len(crops.boxes)}
        assert table["id"].to_pylist() == animals.ids
        assert table["image_score"].to_pylist() == pytest.approx(maps.image_score.tolist(), abs=1e-6)
        boxes, scores = image_boxes(maps, settings)
        same = 0
        for row in range(90):
            exists, (x0, y0, x1, _) = boxes.exists[row], square_box(*animals.sizes_at(row))
            mine = slice(crops.starts[row], crops.starts[row + 1])
            wanted = torch.cat([boxes.corner[row], boxes.side[row, :, None]], 1)[exists].tolist()
            in_map = np.rint((crops.boxes[mine, :3] - [x0, y0, x0]) * 8 / (x1 - x0)).astype(int)
            if [[x, y, end - x] for x, y, end in in_map.tolist()] == wanted:
                assert crops.scores[mine] == pytest.approx(scores[row][exists].numpy(), abs=1e-3)
                same += 1
        assert same >= 85
        found.append(crops.boxes.tolist())
    assert all(one != other for one, other in combinations(found, 2))


def test_without_a_reference_the_best_box_scores_the_image(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    few, alone = animals.take(np.arange(25, 35)), Conditions([3, 3, 3], None)
    score_images(few, unet, alone, SETTINGS, 16, TrainerConfig().parallel, tmp_path)
    search_boxes(animals, tmp_path, BoxesConfig(), tmp_path)
    for row in read_scores(tmp_path).to_pylist():
        assert row["image_score"] == row["scores"][0] != 0


@pytest.mark.parametrize(("exponent", "wins"), [(0.0, 6), (0.5, 4), (1.0, 2)])
def test_the_exponent_says_which_size_wins(animals: Index, tmp_path: Path, exponent: float, wins: int) -> None:
    """Of a bright square of 4 x 4 positions with a brighter core, in a faint frame."""
    plane = torch.full((1, 8, 8), 0.5)
    plane[:, 2:6, 2:6], plane[:, 3:5, 3:5] = 3.0, 4.0
    image = animals.take(np.array([0]))
    write_maps(tmp_path, image, plane, plane)
    search_boxes(image, tmp_path, BoxesConfig([0.25, 0.5, 0.75], exponent=exponent, sigma=0.0), tmp_path)
    (row,) = read_scores(tmp_path).to_pylist()
    assert (row["boxes"][2] - row["boxes"][0]) * 8 / min(image.sizes_at(0)) == wins
    start = (8 - wins) // 2
    mean = float(plane[0, start : start + wins, start : start + wins].mean())
    assert row["scores"] == [pytest.approx(mean * (wins / 6) ** (2 - 2 * exponent))]


@pytest.mark.parametrize(("side", "kept"), [(8, 8), (24, 24), (32, 32), (64, 32)])
def test_maps_are_kept_in_at_most_32_positions_a_side(side: int, kept: int, animals: Index, tmp_path: Path) -> None:
    difference, shift = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).half().float()
    write_maps(tmp_path, few := animals.take(np.array([3, 1, 2])), difference, shift)
    ((ids, maps),) = read_shards(tmp_path)
    assert ids == few.ids
    assert maps.difference.shape == maps.prediction_shift.shape == (3, kept, kept)
    place = 0.25 * difference + 0.75 * shift
    wanted = place.view(3, kept, side // kept, kept, side // kept).mean((2, 4))
    found = read_maps(tmp_path, few.ids[1:], 0.75)
    assert list(found) == few.ids[1:]
    np.testing.assert_allclose(np.stack(list(found.values())), wanted[1:].numpy(), atol=2e-3)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"sizes": []}, "sizes=[]"),
        ({"sizes": [0.5, 1.5]}, "sizes=[0.5, 1.5]"),
        ({"per_image": 0}, "per_image=0"),
        ({"overlap": 1.0}, "overlap=1.0"),
        ({"exponent": -0.1}, "exponent=-0.1"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"prediction_shift_weight": 2.0}, "prediction_shift_weight=2.0"),
    ],
)
def test_settings_refuse_what_makes_no_sense(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"boxes.{words}: ")):
        BoxesConfig(**bad)
