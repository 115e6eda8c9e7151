"""Channel statistics, and that all classes get the same ones."""

import numpy as np
import pytest

from ddselect.selection import channel_stats
from ddselect.selection.channel_stats import SharedChannelStats, order_by_centres


def test_the_first_centre_is_the_mean_and_each_beginning_covers_the_candidates() -> None:
    random = np.random.default_rng(0)
    middles = np.array([[0.0, 10, 0], [5, 0, 1], [9, 9, 2], [1, 1, 9], [5, 5, 5]])
    points = (middles[random.integers(5, size=400)] + random.normal(0, 0.1, (400, 3))).astype(np.float32)
    found = SharedChannelStats(points, seed=0)
    far = found.distances(np.concatenate([points.mean(0)[None], middles]).astype(np.float32))
    assert far[0, 0] < 1e-6
    assert far[1:, :10].min(1).max() < 0.05  # every heap has one of the first ten centres
    assert len({int(centre) for centre in far[1:, :10].argmin(1)}) == 5
    assert far.shape == (6, 400)
    assert (SharedChannelStats(points, seed=0).sequence == found.sequence).all()
    scaled = (points - points.mean(0)) / points.std(0)
    np.testing.assert_allclose(
        found.distances(points[:7])[:, 3], np.square(scaled[:7] - found.sequence[3]).sum(1), rtol=1e-3, atol=1e-3
    )


def test_centres_are_found_on_some_of_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_stats, "_SEEN", 50)
    points = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    found = SharedChannelStats(points, seed=3)
    assert len(found.sequence) == 50  # more than there are to find them on
    assert np.abs(found.sequence[0]).max() > 1e-3  # not the mean of all, as the first is without the limit
    assert (SharedChannelStats(points, seed=3).sequence == found.sequence).all()


@pytest.mark.parametrize("lead", [0, 1, 3])
def test_each_centre_takes_the_nearest_that_is_left(lead: int) -> None:
    distances = np.array([[1.0, 5, 9], [2, 4, 9], [3, 3, 1], [4, 2, 9], [9, 9, 9]])
    order, turns = order_by_centres(distances, lead)
    if lead < 2:
        assert (order.tolist(), turns.tolist()) == ([0, 3, 2], [0, 1, 2])
    else:
        assert (order.tolist(), turns.tolist()) == ([0, 1, 2, 3, 4], [0, 0, 0, 1, 2])
    assert order_by_centres(distances[:2], lead)[0].tolist() == [0, 1]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_classes_of_different_brightness_get_the_same(count: int) -> None:
    """Half of each class has a brightness of its own, the other half is of all kinds."""
    random = np.random.default_rng(1)
    own = 0.15 + 0.3 * np.arange(3)[:, None] + random.normal(0, 0.02, (3, 40))
    brightness = np.concatenate([own, random.uniform(0.1, 0.9, (3, 40))], 1)
    shared = SharedChannelStats(brightness.reshape(-1, 1), seed=0)
    orders = [order_by_centres(shared.distances(of_class[:, None]), 0)[0] for of_class in brightness]
    first = np.stack([np.sort(of_class[order[:count]]) for of_class, order in zip(brightness, orders, strict=True)])
    assert np.ptp(first, axis=0).mean() < 0.1  # a class's own is .3 from another's
    if count == 5:
        assert np.ptp(first, axis=1).min() > 0.3  # and several of them
