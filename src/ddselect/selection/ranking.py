"""Orders of candidates that are diverse at every length: the first k are the selection for k."""

import warnings

import numpy as np

from ddselect.runtime.seeds import key64, numpy_generator

# Candidates of a class and kind that are ordered by what they look like; the rest follows by rank. Enough for IPC 100
# of 2 x 2 crops, and a bound on the time that a class of thousands takes.
DEPTH = 400
# Principal components of the features that are clustered, where there are more: a class has hundreds of candidates, a
# teacher up to thousands of features, and the time of k-means grows with these.
_COMPONENTS = 64
_FEW_CLUSTERS = 50  # up to which k-means starts as scikit-learn does


def levels(limit: int) -> list[int]:
    """The 1-2-5 series up to a limit, and the limit: 1, 2, 5, 10, 20, 50, 100 ..."""
    series = [base * 10**power for power in range(len(str(limit))) for base in (1, 2, 5)]
    return [level for level in series if level < limit] + [limit]


def weighted_places(scores: np.ndarray, losses: np.ndarray, weight: float) -> np.ndarray:
    """(N,) how good candidates are by score and by loss, larger is better: their places by both, weighted.

    Places are of 0 for the worst to N - 1 for the best, so that neither scale counts. Of scores (N,) larger is better,
    of losses (N,) smaller; ``weight`` is that of the losses, from 0 to 1.
    """
    last = len(scores) - 1
    return (1 - weight) * (last - _places(-scores)) + weight * (last - _places(losses))


def best_share(worth: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The share of candidates of the highest worth (N,), one at least, and the others, each by rank."""
    by_rank = np.argsort(-worth, kind="stable")
    kept = max(1, round(share * len(worth)))
    return by_rank[:kept], by_rank[kept:]


def cluster_order(scores: np.ndarray | None, features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A class's candidates ordered by clusters of their features (N, D): see :func:`nested_order`."""
    key = key64(seed, "k-means")
    return nested_order(scores, principal_components(features, _COMPONENTS, key), DEPTH, key)


def principal_components(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Features (N, D) of a class, standardised, and reduced to (N, count) where there are more of D and of N.

    The seed is that of the randomised decomposition.
    """
    scaled: np.ndarray = (features - features.mean(0)) / (features.std(0) + 1e-6)
    if min(features.shape) <= count:
        return scaled
    from sklearn.decomposition import PCA  # a second to import

    return PCA(count, svd_solver="randomized", random_state=seed % 2**32).fit_transform(scaled)


def nested_order(
    scores: np.ndarray | None, features: np.ndarray, depth: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Orders candidates by k-means with a growing number of clusters.

    At every level k of the 1-2-5 series the candidates are clustered into k clusters, one for each pick. Clusters that
    hold nothing chosen before (then those that hold least) give one more each, better ones first, until k are chosen.
    So each prefix covers the class about as well as a clustering of its own size, and a larger IPC extends a smaller
    one. Of equals the first comes first. Beyond ``depth``, the order is by score.

    Scores are (N,), larger is better: a cluster gives its best, and is as good as this one. Without them it gives the
    member nearest to its centroid, larger clusters are better, and beyond ``depth`` the order is the given one.
    Features (N, D) are as :func:`principal_components` makes them. Returned are the (N,) order, and the (N,) cluster of
    each in that order: that of the last level.
    """
    count, chosen = len(features), list[int]()
    clusters = np.zeros(count, dtype=np.int32)
    for level in levels(min(depth, count)):
        centres, clusters = k_means(features, level, seed)
        if scores is None:
            worth = np.bincount(clusters, minlength=level)[clusters]
            places = _places(((features - centres[clusters]) ** 2).sum(1))
        else:
            worth, places = scores, _places(-scores)
        chosen += _round_robin(clusters, places, worth, chosen, level - len(chosen))
    by_worth = np.arange(count) if scores is None else np.argsort(-scores, kind="stable")
    late = np.setdiff1d(by_worth, chosen, assume_unique=True)
    order = np.concatenate([np.array(chosen, dtype=np.int64), late])
    return order, clusters[order]


def _places(values: np.ndarray) -> np.ndarray:
    """(N,) place of each candidate in the rising order of some values (N,); of equals the first comes first."""
    places = np.empty(len(values), dtype=np.int64)
    places[np.argsort(values, kind="stable")] = np.arange(len(places))
    return places


def _round_robin(
    clusters: np.ndarray, places: np.ndarray, worth: np.ndarray, chosen: list[int], count: int
) -> list[int]:
    """``count`` more candidates, from the clusters that hold fewest of those chosen: of each its first by ``places``.

    Where clusters are level, the candidate of the highest worth comes first.
    """
    free = np.setdiff1d(np.arange(len(clusters)), chosen)
    free = free[np.lexsort([places[free], clusters[free]])]
    held = np.bincount(clusters[chosen], minlength=clusters.max() + 1)
    begins = np.searchsorted(clusters[free], clusters[free])  # where each one's cluster begins
    turn = held[clusters[free]] + np.arange(len(free)) - begins
    return free[np.lexsort([free, -worth[free], turn])][:count].tolist()


def k_means(points: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroids (count, D) of points (N, D), and the one that each point belongs to, (N,)."""
    from sklearn.cluster import KMeans  # a second to import
    from sklearn.exceptions import ConvergenceWarning

    start = "k-means++" if count <= _FEW_CLUSTERS else _spread(points, count, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: some stay empty
        fitted = KMeans(count, init=start, n_init=1, max_iter=30, random_state=seed % 2**32).fit(points)
    return fitted.cluster_centers_, fitted.labels_.astype(np.int32)


def _spread(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count, D) points to start k-means from (k-means++, Arthur & Vassilvitskii 2007).

    scikit-learn tries several candidates for each of them, which with hundreds of clusters takes longer than all else.
    """
    random, norms = numpy_generator(seed, "k-means++"), (points**2).sum(1)
    picks = [int(random.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    while len(picks) < count:
        last = picks[-1]
        nearest = np.minimum(nearest, np.maximum(norms + norms[last] - 2 * (points @ points[last]), 0))
        nearest[last] = 0
        share = np.cumsum(nearest, dtype=np.float64)
        # where all points are at distance 0 the last one is taken again, and its cluster stays empty
        picks.append(min(int(np.searchsorted(share, random.random() * share[-1], side="right")), len(points) - 1))
    return points[picks]
