"""Orders that are diverse at every length."""

import numpy as np
import pytest

from ddselect.selection.ranking import embedding, levels, nested_order

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


@pytest.mark.parametrize("pick", ["best", "nearest"])
@pytest.mark.parametrize("depth", [1, 7, 50, 400])
def test_order_is_a_permutation_and_beyond_the_depth_by_score(pick: str, depth: int) -> None:
    scores, features, _ = blobs()
    order, clusters = nested_order(scores, features, pick, depth, 0)
    assert sorted(order.tolist()) == list(range(len(scores)))
    assert clusters.shape == order.shape
    tail = scores[order[depth:]]
    assert (np.diff(tail) <= 0).all()


@pytest.mark.parametrize("pick", ["best", "nearest"])
def test_every_prefix_is_the_selection_for_a_smaller_ipc(pick: str) -> None:
    scores, features, _ = blobs()
    whole, _ = nested_order(scores, features, pick, 50, 0)
    for depth in (1, 2, 5, 10, 20):
        assert nested_order(scores, features, pick, depth, 0)[0][:depth].tolist() == whole[:depth].tolist()


@pytest.mark.parametrize("pick", ["best", "nearest"])
@pytest.mark.parametrize("seed", range(5))
def test_a_prefix_of_k_covers_k_blobs(pick: str, seed: int) -> None:
    scores, features, truth = blobs(seed)
    order, clusters = nested_order(scores, features, pick, 10, seed)
    for level in (1, 2, 5, 10):
        assert len(set(truth[order[:level]].tolist())) == level
    pairs = set(zip(truth[order].tolist(), clusters.tolist(), strict=True))
    assert len(pairs) == len(set(clusters.tolist())) == BLOBS  # the clusters are the blobs


@pytest.mark.parametrize("pick", ["best", "nearest"])
def test_within_a_level_better_members_come_first(pick: str) -> None:
    scores, features, _ = blobs()
    order, _ = nested_order(scores, features, pick, 10, 0)
    for low, high in ((2, 5), (5, 10)):
        assert (np.diff(scores[order[low:high]]) <= 0).all()


def test_best_takes_the_highest_score_and_nearest_the_middle() -> None:
    """Two clusters on a line: 0, 1, 5 and 100, 101, 105; the outer members have the best scores."""
    features = np.array([[0.0], [1.0], [5.0], [100.0], [101.0], [105.0]])
    scores = np.array([0.1, 0.2, 0.9, 0.3, 0.2, 0.8], dtype=np.float32)
    best, _ = nested_order(scores, features, "best", 2, 0)
    assert best[:2].tolist() == [2, 5]
    nearest, _ = nested_order(scores, features, "nearest", 2, 0)
    # level 1 has its centroid at 52; 5 (index 2) is nearest. Then the other cluster gives its middle, 101 (index 4)
    assert nearest[:2].tolist() == [2, 4]


def test_both_takes_the_least_sum_of_the_places_by_score_and_closeness() -> None:
    """One cluster on a line with its middle at 4: by score 0, 1, 2, 3, 4 and by closeness 3, 2, 1, 0, 4 come first."""
    features = np.array([[0.0], [1.0], [2.5], [4.5], [12.0]])
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.1], dtype=np.float32)
    # places by score 0 1 2 3 4, by closeness 3 2 1 0 4: all of the first four sum to 3, and the highest score is first
    assert nested_order(scores, features, "both", 1, 0)[0][0] == 0
    scores[1], scores[2] = 0.7, 0.8  # now 0 2 1 3 4: sums 3 4 2 3 8
    assert nested_order(scores, features, "both", 1, 0)[0][0] == 2
    order, _ = nested_order(scores, features, "both", 5, 0, clusters_per_pick=1e-3)
    assert order.tolist() == [2, 0, 3, 1, 4]  # 0 before 3 by score


def test_both_counts_places_within_the_cluster() -> None:
    """Two clusters: the second's scores are all below the first's, and each has the same order of its own."""
    features = np.array([[0.0], [1.0], [2.5], [100.0], [101.0], [102.5]])
    scores = np.array([0.9, 0.8, 0.7, 0.5, 0.4, 0.3], dtype=np.float32)
    order, _ = nested_order(scores, features, "both", 2, 0)
    # 3 and 4 are level, first by score and by closeness; counted among all candidates, 4 would come first
    assert order[:2].tolist() == [2, 3]


@pytest.mark.parametrize("pick", ["best", "nearest", "both"])
@pytest.mark.parametrize("lead", [1, 4, 7, 100])
def test_the_first_come_by_score_and_clusters_go_on_from_them(pick: str, lead: int) -> None:
    scores, features, truth = blobs()
    order, clusters = nested_order(scores, features, pick, 50, 0, lead=lead)
    assert sorted(order.tolist()) == list(range(len(scores)))
    assert order[: min(lead, 50)].tolist() == np.argsort(-scores, kind="stable")[: min(lead, 50)].tolist()
    assert len(clusters) == len(order)
    if lead < 10:  # ten clusters: those without one of the first give one each
        held = len(set(truth[order[:lead]].tolist()))
        assert len(set(truth[order[:10]].tolist())) == min(BLOBS, held + 10 - lead)
    for depth in (10, 20):  # nested as ever
        shorter, _ = nested_order(scores, features, pick, depth, 0, lead=lead)
        assert shorter[:depth].tolist() == order[:depth].tolist()


def test_of_equal_scores_the_first_candidates_lead() -> None:
    scores, features = np.array([0.5, 0.9, 0.9, 0.5, 0.9]), np.arange(5.0)[:, None]
    assert nested_order(scores, features, "best", 5, 0, lead=2)[0][:2].tolist() == [1, 2]
    assert nested_order(np.zeros(5), np.zeros((5, 2)), "both", 5, 0)[0].tolist() == [0, 1, 2, 3, 4]


def test_features_of_any_scale_and_offset_count_alike() -> None:
    scores, features, _ = blobs()
    order, _ = nested_order(scores, embedding(features, 0, 0), "best", 10, 0)
    again, _ = nested_order(scores, embedding(features * [1e3, 1, 10] + [5, -7, 0], 0, 0), "best", 10, 0)
    assert again.tolist() == order.tolist()


@pytest.mark.parametrize("pick", ["best", "nearest"])
def test_duplicates_are_filled_by_score(pick: str) -> None:
    features = np.repeat(np.array([[0.0, 0.0], [1.0, 1.0]]), 5, axis=0)
    scores = np.array([0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.0, 0.7, 0.9, 0.8], dtype=np.float32)
    order, _ = nested_order(scores, features, pick, 10, 0)
    assert sorted(order.tolist()) == list(range(10))
    assert len({int(i) // 5 for i in order[:2]}) == 2  # both distinct points first


def test_one_candidate_and_all_equal() -> None:
    assert nested_order(np.ones(1, np.float32), np.ones((1, 4)), "best", 400, 0)[0].tolist() == [0]
    order, _ = nested_order(np.arange(6, dtype=np.float32), np.zeros((6, 4)), "nearest", 6, 0)
    assert sorted(order.tolist()) == list(range(6))


@pytest.mark.parametrize("seed", range(2))
def test_many_clusters_are_as_good_as_those_of_the_usual_start(seed: int) -> None:
    """Above 50 clusters a cheaper start is used: 80 far-apart blobs are still found nearly all."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(80), 5)
    features = 100 * random.normal(size=(80, 8))[truth] + 0.1 * random.normal(size=(400, 8))
    order, _ = nested_order(random.random(400), features, "best", 80, seed)
    assert len(set(truth[order[:80]].tolist())) > 65


def test_many_clusters_of_few_points() -> None:
    features = np.repeat(np.arange(7.0)[:, None], 20, axis=0)
    order, _ = nested_order(np.arange(140.0), features, "best", 140, 0)
    assert sorted(order.tolist()) == list(range(140))


def test_without_scores_larger_clusters_come_first_and_the_rest_as_given() -> None:
    sizes = [3, 9, 5]
    features = np.repeat(np.array([[0.0], [50.0], [120.0]]), sizes, axis=0)
    features += 0.01 * np.random.default_rng(0).normal(size=features.shape)
    order, clusters = nested_order(None, features, "nearest", 5, 0)
    truth = np.repeat([0, 1, 2], sizes)
    assert len(set(truth[order[:5]].tolist())) == 3
    assert order[5:].tolist() == sorted(order[5:].tolist())
    three, _ = nested_order(None, np.repeat(features, 1, axis=0), "nearest", 2, 0)
    assert len(set(truth[three[:2]].tolist())) == 2
    assert sorted(order.tolist()) == list(range(17))
    assert len(clusters) == 17


@pytest.mark.parametrize("pick", ["best", "nearest"])
def test_fewer_clusters_than_picks_give_in_turn(pick: str) -> None:
    """Ten picks of five clusters are two of each; one cluster gives by the pick alone."""
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 8)
    features = 100.0 * truth[:, None] ** 2 + random.normal(size=(40, 1))
    scores = random.random(40)
    order, _ = nested_order(scores, features, pick, 10, 0, clusters_per_pick=0.5)
    assert np.bincount(truth[order[:10]]).max() <= 3
    assert len(set(truth[order[:10]].tolist())) == 5
    order, _ = nested_order(scores, features, "best", 10, 0, clusters_per_pick=1e-3)
    assert order[:10].tolist() == np.argsort(-scores)[:10].tolist()


def test_more_clusters_than_picks_leave_the_weakest_out() -> None:
    features = 100.0 * np.repeat(np.arange(10), 4)[:, None] ** 2
    scores = np.arange(40.0)
    order, _ = nested_order(scores, features, "best", 5, 0, clusters_per_pick=2)
    last = order[2:5]  # the last level: ten clusters, the best of the best ones among those that hold nothing
    assert (last // 4 >= 5).all()
    assert len(set((order[:5] // 4).tolist())) == 5


def test_same_seed_same_order() -> None:
    scores, features, _ = blobs()
    features += np.random.default_rng(1).normal(size=features.shape) * 100  # no clear clusters
    orders = [nested_order(scores, features, "best", 50, seed)[0].tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_an_embedding_is_standardised_and_keeps_the_distances_that_matter() -> None:
    random = np.random.default_rng(0)
    low = random.normal(size=(200, 4)) * [1.0, 5.0, 0.1, 1.0]
    assert np.allclose(embedding(low, 64, 0).std(0), 1, atol=1e-3)
    wide = low @ random.normal(size=(4, 90)) + 3  # 90 dimensions that hold four
    scaled = (wide - wide.mean(0)) / wide.std(0)
    reduced = embedding(wide, 8, 0)
    assert reduced.shape == (200, 8)
    pairs = random.integers(0, 200, (50, 2))
    apart = [np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1) for points in (scaled, reduced)]
    assert np.allclose(*apart, rtol=1e-3, atol=1e-3)
    assert np.array_equal(embedding(wide, 8, 0), reduced)
    assert embedding(wide, 0, 0).shape == (200, 90)
    assert embedding(wide[:5], 8, 0).shape == (5, 90)  # fewer points than components
