"""Orders of coresets, against plain searches and by hand."""

import numpy as np
import pytest

from ddselect.selection.greedy import coverage_centric_order, herding_order, k_center_order, moderate_order


def points(seed: int, count: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 1, (count, 5)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_herding_follows_the_mean(seed: int) -> None:
    x = points(seed).astype(np.float64)
    chosen: list[int] = []
    for _ in range(12):
        rest = [i for i in range(len(x)) if i not in chosen]
        chosen.append(min(rest, key=lambda i: float(np.linalg.norm(x[[*chosen, i]].mean(0) - x.mean(0)))))
    assert herding_order(x, 12).tolist() == chosen
    assert sorted(herding_order(x, 100).tolist()) == list(range(40))


@pytest.mark.parametrize("seed", range(3))
def test_k_center_takes_the_farthest(seed: int) -> None:
    x = points(seed)
    order = k_center_order(x, 12).tolist()
    assert order[0] == int(np.argmin(np.linalg.norm(x - x.mean(0), axis=1)))
    for number in range(1, 12):
        reach = np.linalg.norm(x[:, None] - x[order[:number]][None], axis=-1).min(1)
        assert reach[order[number]] == pytest.approx(reach.max(), rel=1e-5)
    assert sorted(k_center_order(x, 100).tolist()) == list(range(40))


@pytest.mark.parametrize("order", [herding_order, k_center_order])
def test_prefixes_do_not_depend_on_the_depth(order: object) -> None:
    assert order(points(0), 5).tolist() == order(points(0), 30)[:5].tolist()  # type: ignore[operator]


@pytest.mark.parametrize("order", [herding_order, k_center_order])
def test_copies_are_taken_once_each_and_the_first_one_first(order: object) -> None:
    x = np.repeat(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], np.float32), 3, axis=0)
    found = order(x, 9).tolist()  # type: ignore[operator]
    assert sorted(found) == list(range(9))
    for first in (0, 3, 6):
        assert [i for i in found if first <= i < first + 3] == [first, first + 1, first + 2]
    if order is k_center_order:
        assert {i // 3 for i in found[:3]} == {0, 1, 2}  # all distinct points before a copy


def test_moderate_starts_at_the_median_distance() -> None:
    x = np.array([[-9.0], [-1.0], [1.0], [3.0], [-4.0], [10.0]])  # mean 0; distances 9, 1, 1, 3, 4, 10; median 3.5
    assert moderate_order(x).tolist() == [3, 4, 1, 2, 0, 5]


@pytest.mark.parametrize("budget", [1, 4, 10, 25, 60])
def test_ccs_divides_every_budget_as_the_paper_does(budget: int) -> None:
    random = np.random.default_rng(1)
    difficulty = random.exponential(size=100).astype(np.float32)
    order = coverage_centric_order(difficulty, 0.2, 10, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(100))
    by_difficulty = np.argsort(difficulty)
    assert order[80:].tolist() == by_difficulty[80:].tolist()  # pruned: last, the hardest at the very end
    kept = difficulty[by_difficulty[:80]]
    edges = np.linspace(kept.min(), kept.max(), 11)
    stratum = np.clip(np.searchsorted(edges, difficulty, side="right") - 1, 0, 9)
    sizes = np.bincount(stratum[by_difficulty[:80]], minlength=10)
    shares, left, open_strata = np.zeros(10), budget, [k for k in np.argsort(sizes) if sizes[k]]
    while open_strata:  # the paper's loop: the smallest stratum first, what it lacks goes to the others
        smallest = open_strata.pop(0)
        shares[smallest] = min(sizes[smallest], left / (len(open_strata) + 1))
        left -= shares[smallest]
    counts = np.bincount(stratum[order[:budget]], minlength=10)
    assert np.abs(counts - shares).max() < 1


def test_ccs_without_pruning_and_with_equal_losses() -> None:
    same = coverage_centric_order(np.ones(7, np.float32), 0.0, 50, np.random.default_rng(0))
    other = coverage_centric_order(np.ones(7, np.float32), 0.0, 50, np.random.default_rng(1))
    assert sorted(same.tolist()) == list(range(7))
    assert same.tolist() != other.tolist()
    assert coverage_centric_order(np.ones(1, np.float32), 0.9, 50, np.random.default_rng(0)).tolist() == [0]
