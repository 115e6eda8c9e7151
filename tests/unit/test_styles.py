"""Styles, and that all classes get the same ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ddselect.dataset.folders import ImageFolderConfig
from ddselect.dataset.index import build_index, read_index
from ddselect.embed.feature_table import FeatureTable
from ddselect.embed.moments import Moments
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection import styles
from ddselect.selection.diffusion import DiffusionConfig
from ddselect.selection.styles import SharedStyles, order_by_style
from tests.helpers.selection import VIEW, Bench

CLASSES, EACH = 3, 80


def test_moments_are_means_and_deviations_of_the_channels() -> None:
    cuts = torch.rand(4, 3, 8, 6)
    found = Moments().features(cuts)
    for image, row in zip(cuts.numpy(), found.numpy(), strict=True):
        pixels = image.reshape(3, -1)
        np.testing.assert_allclose(row, [*pixels.mean(1), *pixels.std(1)], rtol=1e-5)


def test_the_first_style_is_the_mean_and_each_beginning_covers_them() -> None:
    random = np.random.default_rng(0)
    middles = np.array([[0.0, 10, 0], [5, 0, 1], [9, 9, 2], [1, 1, 9], [5, 5, 5]])
    points = (middles[random.integers(5, size=400)] + random.normal(0, 0.1, (400, 3))).astype(np.float32)
    found = SharedStyles(points, seed=0)
    far = found.distances(np.concatenate([points.mean(0)[None], middles]).astype(np.float32))
    assert far[0, 0] < 1e-6
    assert far[1:, :10].min(1).max() < 0.05  # every heap has one of the first ten styles
    assert len({int(style) for style in far[1:, :10].argmin(1)}) == 5
    assert far.shape == (6, 400)
    assert (SharedStyles(points, seed=0).sequence == found.sequence).all()
    scaled = (points - points.mean(0)) / points.std(0)
    np.testing.assert_allclose(
        found.distances(points[:7])[:, 3], np.square(scaled[:7] - found.sequence[3]).sum(1), rtol=1e-3, atol=1e-3
    )


def test_styles_are_found_on_some_of_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "_SEEN", 50)
    points = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    found = SharedStyles(points, seed=3)
    assert len(found.sequence) == 50  # more than there are to find them on
    assert np.abs(found.sequence[0]).max() > 1e-3  # not the mean of all, as the first is without the limit
    assert (SharedStyles(points, seed=3).sequence == found.sequence).all()


@pytest.mark.parametrize("lead", [0, 1, 3])
def test_each_style_takes_the_nearest_that_is_left(lead: int) -> None:
    distances = np.array([[1.0, 5, 9], [2, 4, 9], [3, 3, 1], [4, 2, 9], [9, 9, 9]])
    order, turns = order_by_style(distances, lead)
    if lead < 2:
        assert (order.tolist(), turns.tolist()) == ([0, 3, 2], [0, 1, 2])
    else:
        assert (order.tolist(), turns.tolist()) == ([0, 1, 2, 3, 4], [0, 0, 0, 1, 2])
    assert order_by_style(distances[:2], lead)[0].tolist() == [0, 1]


@pytest.fixture(scope="module")
def tinted(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Classes of plain images, every one of which has mostly a brightness of its own and some of all others."""
    root, random = tmp_path_factory.mktemp("tinted"), np.random.default_rng(1)
    for label in range(CLASSES):
        folder = root / "photos" / "train" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(EACH):
            own = random.random() < 0.5
            level = 40 + 80 * label if own else random.integers(20, 230)
            pixels = np.clip(random.normal(level, 6, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    build_index(ImageFolderConfig("tinted", VIEW, root=str(root / "photos" / "train"), holdout=0.1), root / "index")
    return Bench(read_index(root / "index").split("train"), root)


def _levels(method: DiffusionConfig, bench: Bench, count: int) -> np.ndarray:
    """(classes, count) brightness of the first whole images of each class, darkest first."""
    rows = [row for table in method.rank(bench.material(method)) for row in table.to_pylist() if row["kind"] == "image"]
    table = FeatureTable(bench.styles(), crops_of(read_scores(bench.scores)).starts)
    bright = dict(zip(bench.index.ids, table.read(np.arange(len(bench.index)))["image"][:, 0].tolist(), strict=True))
    first = [[bright[row["id"]] for row in rows if row["label"] == label][:count] for label in range(CLASSES)]
    return np.sort(np.array(first), 1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_class_gets_the_same_styles(count: int, tinted: Bench) -> None:
    method = DiffusionConfig("diffusion", 1.0, confidence=0.0, keep=1.0)
    shared = _levels(method, tinted, count)
    alone = _levels(replace(method, crop_pick="top", image_pick="top"), tinted, count)
    assert np.ptp(shared, axis=0).mean() < 0.1
    assert np.ptp(alone, axis=0).mean() > 2 * np.ptp(shared, axis=0).mean()
    if count == 5:
        assert np.ptp(shared, axis=1).min() > 0.3  # and several of them


def test_styles_are_of_the_candidates_that_stay_and_the_rest_follows_by_rank(tinted: Bench) -> None:
    method = DiffusionConfig("diffusion", 1.0, confidence=0.0, keep=0.4, lead=3)
    for table in method.rank(tinted.material(method)):
        scores, clusters = table["score"].to_numpy(), table["cluster"].to_numpy()
        stay = round(0.4 * len(scores))
        assert set(scores[:stay]) == set(np.sort(scores)[-stay:])
        assert (np.diff(scores[stay:]) <= 0).all()
        assert (clusters[:3] == 0).all() == (table["kind"][0].as_py() == "crop")
        assert -1 not in clusters[:stay]
        assert set(clusters[stay:]) == {-1}
