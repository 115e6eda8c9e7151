"""Boxes of several sizes from kept maps."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ddselect.backbone.denoiser import Denoiser
from ddselect.boxes.settings import BoxesConfig
from ddselect.boxes.stage import search_boxes
from ddselect.dataset.images import square_box
from ddselect.dataset.index import Index
from ddselect.pilot.fidelity import intersection_over_union
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_table
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.module import score_images
from ddselect.scoring.scorer import best_boxes, window
from ddselect.scoring.settings import ScoringConfig
from ddselect.scoring.table import crops_of, merge, packed, read_planes, read_scores, score_shards, write_rows

SIDE = 8  # positions of the planes made here


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


@pytest.fixture(scope="module")
def scored(animals: Index, unet: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scoring: two boxes of half the view's side for each image."""
    folder = tmp_path_factory.mktemp("scored")
    settings = ScoringConfig(draws=1, antithetic=False, cross=0.0, shard_size=40, batch_size=30, boxes=2)
    score_images(animals, unet, Conditions([0, 1, 2], 3), settings, 16, TrainerConfig().parallel, folder)
    return folder


def test_one_size_gives_the_boxes_of_scoring(animals: Index, scored: Path, tmp_path: Path) -> None:
    """But for the rounding of what is kept."""
    search_boxes(animals, scored, BoxesConfig("one", [0.5], per_image=2, exponent=1.0), tmp_path)
    mine, own = read_scores(tmp_path), read_scores(scored)
    assert mine["id"] == own["id"]
    assert mine["image_score"] == own["image_score"]
    pairs = list(zip(mine.to_pylist(), own.to_pylist(), strict=True))
    same = [(one, other) for one, other in pairs if one["boxes"] == other["boxes"]]
    assert len(same) > 0.9 * len(pairs)
    for one, other in same:
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-3)


def test_several_sizes_of_an_image_lie_inside_it_and_hardly_overlap(
    animals: Index, scored: Path, tmp_path: Path
) -> None:
    facts = search_boxes(animals, scored, BoxesConfig("scales", [0.25, 0.5, 0.75], per_image=3, overlap=0.3), tmp_path)
    crops = crops_of(read_scores(tmp_path))
    assert facts == {"images": 90, "boxes": len(crops.boxes)}
    assert (np.diff(crops.starts) > 1).all()
    sides = set()
    planes = np.concatenate([difference for _, difference in read_planes(scored)])
    for row in range(len(animals)):
        x0, y0, x1, y1 = square_box(*animals.sizes_at(row))
        mine = crops.boxes[crops.starts[row] : crops.starts[row + 1]]
        assert (mine[:, :2] >= (x0, y0)).all()
        assert (mine[:, 2:] <= (x1, y1)).all()
        in_map = np.rint((mine - [x0, y0, x0, y0]) * 8 / (x1 - x0)).astype(int)
        for k, (left, top, right, bottom) in enumerate(in_map.tolist()):
            mean = planes[row, top:bottom, left:right].mean()
            score = crops.scores[crops.starts[row] + k]
            assert score == pytest.approx(mean * (right - left) / 8, abs=1e-4)  # exponent 0.5
            others = intersection_over_union(in_map[:k].astype(float), in_map[[k]].astype(float))
            assert (others <= 0.3).all()
            sides.add(right - left)
    assert len(sides) > 1


@pytest.mark.parametrize(("exponent", "wins"), [(0.0, 6), (0.5, 4), (1.0, 2)])
def test_the_exponent_says_which_size_wins(animals: Index, tmp_path: Path, exponent: float, wins: int) -> None:
    """Of a bright square of 4 x 4 positions with a brighter core, in a faint frame."""
    plane = np.full((8, 8), 0.5, np.float16)
    plane[2:6, 2:6], plane[3:5, 3:5] = 3.0, 4.0
    image = animals.take(np.array([0]))
    row = {"id": image.ids[0], "label": 0, "image_score": 0.0, "boxes": [0, 0, 1, 1], "scores": [0.0], "losses": [0.0]}
    plan = score_shards(tmp_path / "scored", 1, 5)
    write_rows(plan.path(0), [{**row, "map": plane.tobytes(), "map_side": 8, "difference": plane.tobytes()}])
    merge(plan)
    search = BoxesConfig("scales", [0.25, 0.5, 0.75], exponent=exponent, sigma=0.0)
    search_boxes(image, tmp_path / "scored", search, tmp_path / "boxes")
    x0, _, x1, _ = read_scores(tmp_path / "boxes")["boxes"][0].as_py()
    assert (x1 - x0) * 8 / min(image.sizes_at(0)) == wins


@pytest.mark.parametrize(
    ("side", "placed", "scored"), [(8, 8, 8), (16, 16, 16), (32, 32, 16), (64, 32, 16), (24, 24, 12)]
)
def test_maps_are_kept_as_finely_as_they_are_needed(side: int, placed: int, scored: int, tmp_path: Path) -> None:
    """The map that boxes are placed by in up to 32 x 32 positions, the one they are scored by in up to 16 x 16."""
    place, difference = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).half().float()
    kept, coarse = packed(place, difference)
    assert (kept.shape, coarse.shape) == ((3, placed, placed), (3, scored, scored))
    assert kept[0].nbytes + coarse[0].nbytes <= 2560
    row = {"id": "a", "label": 0, "image_score": 0.0, "boxes": [0, 0, 1, 1], "scores": [0.0], "losses": [0.0]}
    plan = score_shards(tmp_path, 3, 5)
    maps = [{"map": kept[i].tobytes(), "map_side": placed, "difference": coarse[i].tobytes()} for i in range(3)]
    write_rows(plan.path(0), [{**row, **mine} for mine in maps])
    ((found, of_boxes),) = read_planes(tmp_path)
    assert found.shape == of_boxes.shape == (3, placed, placed)
    if side <= placed:
        np.testing.assert_array_equal(found, place.numpy())
    whole, half = slice(None), slice(0, placed // 2)  # boxes that begin and end where coarse positions do
    for rows, columns in ((whole, whole), (half, whole), (half, half)):
        box = (slice(None), rows, columns)
        in_full = tuple(slice(0, side // 2) if part == half else part for part in box)
        np.testing.assert_allclose(of_boxes[box].mean((1, 2)), difference.numpy()[in_full].mean((1, 2)), atol=2e-3)


def test_a_scoring_without_difference_maps_is_told(animals: Index, scored: Path, tmp_path: Path) -> None:
    for file in scored.iterdir():
        table = pq.read_table(file)
        write_table(tmp_path / file.name, table.drop(["difference"]) if "difference" in table.column_names else table)
    with pytest.raises(UserError, match=r"holds no difference maps; remove .* to score its images again"):
        search_boxes(animals, tmp_path, BoxesConfig("scales", [0.5]), tmp_path / "boxes")
