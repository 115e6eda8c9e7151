"""Orders of candidates that are diverse at every length: the first k are the selection for k."""

import warnings

import numpy as np


def levels(limit: int) -> list[int]:
    """The 1-2-5 series up to a limit, and the limit: 1, 2, 5, 10, 20, 50, 100 ..."""
    series = [base * 10**power for power in range(len(str(limit))) for base in (1, 2, 5)]
    return [level for level in series if level < limit] + [limit]


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
    scores: np.ndarray, features: np.ndarray, pick: str, depth: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Orders candidates by k-means with a growing number of clusters.

    At every level k of the 1-2-5 series the candidates are clustered into k clusters; those clusters that hold nothing
    chosen before give one member each, clusters with better members first, until k are chosen. So each prefix covers
    the class about as well as a clustering of its own size, and a larger IPC extends a smaller one. Beyond ``depth``,
    the order is by score.

    Args:
        scores: (N,) larger is better.
        features: (N, D) embedding, as :func:`embedding` makes it.
        pick: The member that a cluster gives: ``best`` score, or ``nearest`` to the centroid.
        depth: Number of candidates to order by clusters.
        seed: Seed of k-means.

    Returns:
        (N,) order and (N,) cluster of each in that order: the cluster of the last level.
    """
    count = len(scores)
    chosen: list[int] = []
    clusters = np.zeros(count, dtype=np.int32)
    for level in levels(min(depth, count)):
        clusters, distance = _cluster(features, level, seed)
        taken = set(clusters[chosen].tolist())
        best = _members(clusters, -scores if pick == "best" else distance, level)
        fresh = sorted((m for m in best if clusters[m] not in taken), key=lambda m: -scores[m])
        chosen += fresh[: level - len(chosen)]
        if len(chosen) < level:  # empty clusters, as with duplicates: fill by score
            before = set(chosen)
            rest = [i for i in np.argsort(-scores, kind="stable").tolist() if i not in before]
            chosen += rest[: level - len(chosen)]
    late = np.setdiff1d(np.argsort(-scores, kind="stable"), chosen, assume_unique=True)
    order = np.concatenate([np.array(chosen, dtype=np.int64), late])
    return order, clusters[order]


def _cluster(points: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k-means labels (N,) and squared distances (N,) to the own centroid."""
    from sklearn.cluster import KMeans  # a second to import
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters is handled above
        fitted = KMeans(count, n_init=1, max_iter=30, random_state=seed % 2**32).fit(points)
    distance = ((points - fitted.cluster_centers_[fitted.labels_]) ** 2).sum(1)
    return fitted.labels_.astype(np.int32), distance


def _members(clusters: np.ndarray, cost: np.ndarray, count: int) -> list[int]:
    """For each cluster that is not empty, its member of lowest cost."""
    groups = [np.flatnonzero(clusters == cluster) for cluster in range(count)]
    return [int(group[np.argmin(cost[group])]) for group in groups if len(group)]
