"""Orders that are diverse at every length."""

import numpy as np
import pytest

from ddselect.selection.ranking import levels, nested_order, principal_components

BLOBS, EACH = 10, 12


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, features and true blob of points in ten far-apart blobs."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(BLOBS), EACH)
    centres = 100 * np.stack([np.cos(np.arange(BLOBS)), np.sin(2.3 * np.arange(BLOBS)), np.arange(BLOBS) / 3], 1)
    order = random.permutation(len(truth))
    features = centres[truth] + random.normal(size=(len(truth), 3)) * 0.1
    return random.random(len(truth)).astype(np.float32), features[order], truth[order]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (10, [1, 2, 5, 10]), (64, [1, 2, 5, 10, 20, 50, 64]),
     (200, [1, 2, 5, 10, 20, 50, 100, 200])],
)  # fmt: skip
def test_levels(limit: int, expected: list[int]) -> None:
    assert levels(limit) == expected


@pytest.mark.parametrize("depth", [1, 7, 50, 400])
def test_order_is_a_permutation_and_beyond_the_depth_by_score(depth: int) -> None:
    scores, features, _ = blobs()
    order, clusters = nested_order(scores, features, depth, 0)
    assert sorted(order.tolist()) == list(range(len(scores)))
    assert clusters.shape == order.shape
    tail = scores[order[depth:]]
    assert (np.diff(tail) <= 0).all()


@pytest.mark.parametrize("scored", [True, False])
def test_every_prefix_is_the_selection_for_a_smaller_ipc(scored: bool) -> None:
    scores, features, _ = blobs()
    given = scores if scored else None
    whole, _ = nested_order(given, features, 50, 0)
    for depth in (1, 2, 5, 10, 20):
        assert nested_order(given, features, depth, 0)[0][:depth].tolist() == whole[:depth].tolist()


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_prefix_of_k_covers_k_blobs(scored: bool, seed: int) -> None:
    scores, features, truth = blobs(seed)
    order, clusters = nested_order(scores if scored else None, features, 10, seed)
    for level in (1, 2, 5, 10):
        assert len(set(truth[order[:level]].tolist())) == level
    pairs = set(zip(truth[order].tolist(), clusters.tolist(), strict=True))
    assert len(pairs) == len(set(clusters.tolist())) == BLOBS  # the clusters are the blobs


def test_within_a_level_better_members_come_first() -> None:
    scores, features, _ = blobs()
    order, _ = nested_order(scores, features, 10, 0)
    for low, high in ((2, 5), (5, 10)):
        assert (np.diff(scores[order[low:high]]) <= 0).all()


def test_a_cluster_gives_its_highest_score_or_its_middle() -> None:
    """Two clusters on a line: 0, 1, 5 and 100, 101, 105; the outer members have the best scores."""
    features = np.array([[0.0], [1.0], [5.0], [100.0], [101.0], [105.0]])
    scores = np.array([0.1, 0.2, 0.9, 0.3, 0.2, 0.8], dtype=np.float32)
    best, _ = nested_order(scores, features, 2, 0)
    assert best[:2].tolist() == [2, 5]
    nearest, _ = nested_order(None, features, 2, 0)
    # level 1 has its centroid at 52; 5 (index 2) is nearest. Then the other cluster gives its middle, 101 (index 4)
    assert nearest[:2].tolist() == [2, 4]


def test_features_of_any_scale_and_offset_count_alike() -> None:
    scores, features, _ = blobs()
    order, _ = nested_order(scores, principal_components(features, 64, 0), 10, 0)
    again, _ = nested_order(scores, principal_components(features * [1e3, 1, 10] + [5, -7, 0], 64, 0), 10, 0)
    assert again.tolist() == order.tolist()


def test_duplicates_are_filled_by_score() -> None:
    features = np.repeat(np.array([[0.0, 0.0], [1.0, 1.0]]), 5, axis=0)
    scores = np.array([0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.0, 0.7, 0.9, 0.8], dtype=np.float32)
    order, _ = nested_order(scores, features, 10, 0)
    assert sorted(order.tolist()) == list(range(10))
    assert len({int(i) // 5 for i in order[:2]}) == 2  # both distinct points first


def test_one_candidate_and_all_equal() -> None:
    assert nested_order(np.ones(1, np.float32), np.ones((1, 4)), 400, 0)[0].tolist() == [0]
    order, _ = nested_order(None, np.zeros((6, 4)), 6, 0)
    assert sorted(order.tolist()) == list(range(6))


@pytest.mark.parametrize("seed", range(2))
def test_many_clusters_are_as_good_as_those_of_the_usual_start(seed: int) -> None:
    """Above 50 clusters a cheaper start is used: 80 far-apart blobs are still found nearly all."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(80), 5)
    features = 100 * random.normal(size=(80, 8))[truth] + 0.1 * random.normal(size=(400, 8))
    order, _ = nested_order(random.random(400), features, 80, seed)
    assert len(set(truth[order[:80]].tolist())) > 65


def test_many_clusters_of_few_points() -> None:
    features = np.repeat(np.arange(7.0)[:, None], 20, axis=0)
    order, _ = nested_order(np.arange(140.0), features, 140, 0)
    assert sorted(order.tolist()) == list(range(140))


def test_without_scores_larger_clusters_come_first_and_the_rest_as_given() -> None:
    sizes = [3, 9, 5]
    features = np.repeat(np.array([[0.0], [50.0], [120.0]]), sizes, axis=0)
    features += 0.01 * np.random.default_rng(0).normal(size=features.shape)
    order, clusters = nested_order(None, features, 5, 0)
    truth = np.repeat([0, 1, 2], sizes)
    assert len(set(truth[order[:5]].tolist())) == 3
    assert order[5:].tolist() == sorted(order[5:].tolist())
    three, _ = nested_order(None, features, 2, 0)
    assert len(set(truth[three[:2]].tolist())) == 2
    assert sorted(order.tolist()) == list(range(17))
    assert len(clusters) == 17


def test_same_seed_same_order() -> None:
    scores, features, _ = blobs()
    features += np.random.default_rng(1).normal(size=features.shape) * 100  # no clear clusters
    orders = [nested_order(scores, features, 50, seed)[0].tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_principal_components_are_of_standardised_features_and_keeps_the_distances_that_matter() -> None:
    random = np.random.default_rng(0)
    low = random.normal(size=(200, 4)) * [1.0, 5.0, 0.1, 1.0]
    assert np.allclose(principal_components(low, 64, 0).std(0), 1, atol=1e-3)
    wide = low @ random.normal(size=(4, 90)) + 3  # 90 dimensions that hold four
    scaled = (wide - wide.mean(0)) / wide.std(0)
    reduced = principal_components(wide, 8, 0)
    assert reduced.shape == (200, 8)
    pairs = random.integers(0, 200, (50, 2))
    apart = [np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1) for points in (scaled, reduced)]
    assert np.allclose(*apart, rtol=1e-3, atol=1e-3)
    assert np.array_equal(principal_components(wide, 8, 0), reduced)
    assert principal_components(wide[:5], 8, 0).shape == (5, 90)  # fewer points than components
