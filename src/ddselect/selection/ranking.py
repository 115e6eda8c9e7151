"""Orders of candidates that are diverse at every length: the first k are the selection for k."""

import warnings

import numpy as np

from ddselect.runtime.seeds import numpy_generator

_FEW_CLUSTERS = 50


def levels(limit: int) -> list[int]:
    """The 1-2-5 series up to a limit, and the limit: 1, 2, 5, 10, 20, 50, 100 ..."""
    series = [base * 10**power for power in range(len(str(limit))) for base in (1, 2, 5)]
    return [level for level in series if level < limit] + [limit]


def agreed(scores: np.ndarray, losses: np.ndarray, share: float) -> np.ndarray:
    """(N,) how good candidates are by two judges, larger is better: their places by both, weighted.

    Places are of 0 for the worst to N - 1 for the best, so that neither judge's scale counts.

    Args:
        scores: (N,) of the first judge, larger is better.
        losses: (N,) of the second judge, smaller is better.
        share: Weight of the second, from 0 to 1.
    """
    last = len(scores) - 1
    return (1 - share) * (last - _places([-scores])) + share * (last - _places([losses]))


def embedding(features: np.ndarray, components: int, seed: int) -> np.ndarray:
    """Features (N, D) of a class, standardised, and reduced to their first principal components.

    Args:
        features: (N, D).
        components: Dimensions to keep where there are more; 0 keeps all.
        seed: Seed of the randomised decomposition.
    """
    scaled: np.ndarray = (features - features.mean(0)) / (features.std(0) + 1e-6)
    if not components or features.shape[1] <= components or len(features) <= components:
        return scaled
    from sklearn.decomposition import PCA  # a second to import

    reduced: np.ndarray = PCA(components, svd_solver="randomized", random_state=seed % 2**32).fit_transform(scaled)
    return reduced


def nested_order(
    scores: np.ndarray | None,
    features: np.ndarray,
    pick: str,
    depth: int,
    seed: int,
    clusters_per_pick: float = 1.0,
    lead: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Orders candidates by k-means with a growing number of clusters.

    The first ``lead`` come by score alone, and count as chosen. At every level k of the 1-2-5 series the candidates are
    clustered into k clusters (times ``clusters_per_pick``). Those clusters of which fewest candidates are chosen give
    one more each, better ones first, until k are chosen: with one cluster for each pick these are the clusters that
    hold nothing chosen before. So each prefix covers the class about as well as a clustering of its own size, and a
    larger IPC extends a smaller one. Of equals the first comes first. Beyond ``depth``, the order is by score.

    Args:
        scores: (N,) larger is better. None: candidates from larger clusters are better, and beyond ``depth`` the order
            is the given one.
        features: (N, D) embedding, as :func:`embedding` makes it.
        pick: The member that a cluster gives: ``best`` score, ``nearest`` to the centroid, or ``both``: of the least
            sum of its places in its cluster by score and by closeness, the higher score first where sums are equal.
        depth: Number of candidates to order by clusters.
        seed: Seed of k-means.
        clusters_per_pick: Clusters for each candidate that is picked.
        lead: Number of candidates that come first, by score; within ``depth``. Without scores there are none.

    Returns:
        (N,) order and (N,) cluster of each in that order: the cluster of the last level.
    """
    count = len(features)
    by_worth = np.arange(count) if scores is None else np.argsort(-scores, kind="stable")
    chosen: list[int] = [] if scores is None else by_worth[: min(lead, depth)].tolist()
    clusters = np.zeros(count, dtype=np.int32)
    *early, last = levels(min(depth, count))
    for level in [*(level for level in early if level > len(chosen)), last]:
        number = min(count, max(1, round(level * clusters_per_pick)))
        centres, clusters = k_means(features, number, seed)
        distance = ((features - centres[clusters]) ** 2).sum(1)
        worth = np.bincount(clusters, minlength=number)[clusters] if scores is None else scores
        rank = _pick_ranks(pick, scores, distance, clusters)
        chosen += _round_robin(clusters, rank, worth, chosen, level - len(chosen))
    late = np.setdiff1d(by_worth, chosen, assume_unique=True)
    order = np.concatenate([np.array(chosen, dtype=np.int64), late])
    return order, clusters[order]


def _pick_ranks(pick: str, scores: np.ndarray | None, distance: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(N,) in what order members of a cluster come, the lowest first; of equals, the first candidate."""
    if scores is None or pick == "nearest":
        return _places([distance])
    if pick == "best":
        return _places([-scores])
    # sorted by cluster, the places in one begin at the same number for all of its members
    by_score, by_closeness = _places([-scores, clusters]), _places([distance, clusters])
    begins = np.searchsorted(np.sort(clusters), clusters)
    return _places([-scores, by_score + by_closeness - 2 * begins])


def _places(keys: list[np.ndarray]) -> np.ndarray:
    """(N,) place of each candidate in the rising order of some keys (N,), the last of which counts most."""
    places = np.empty(len(keys[0]), dtype=np.int64)
    places[np.lexsort(keys)] = np.arange(len(places))
    return places


def _round_robin(clusters: np.ndarray, rank: np.ndarray, worth: np.ndarray, chosen: list[int], count: int) -> list[int]:
    """``count`` more candidates, from the clusters that hold fewest of those chosen: of each its first by ``rank``.

    Where clusters are level, the candidate of the highest worth comes first.
    """
    free = np.setdiff1d(np.arange(len(clusters)), chosen)
    free = free[np.lexsort([rank[free], clusters[free]])]
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
