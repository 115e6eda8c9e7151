"""Orders of candidates of which every prefix is a coreset.

Of equals, the first candidate comes first.
"""

import numpy as np


def herding_order(features: np.ndarray, depth: int) -> np.ndarray:
    """Herding (Welling 2009): each pick brings the mean of those picked nearest to the mean of all.

    Returned are ``depth`` or all candidates in order, of features (N, D).
    """
    norms, mean = (features**2).sum(1), features.mean(0)
    free, total, order = np.ones(len(features), dtype=bool), np.zeros_like(mean), []
    for number in range(1, min(depth, len(features)) + 1):
        # |total + x - number mean|^2 without what is the same for all x
        cost = norms + 2 * (features @ (total - number * mean))
        pick = int(np.argmin(np.where(free, cost, np.inf)))
        free[pick] = False
        total += features[pick]
        order.append(pick)
    return np.array(order, dtype=np.int64)


def k_center_order(features: np.ndarray, depth: int) -> np.ndarray:
    """k-center greedy (Sener & Savarese 2018): first the candidate nearest to the mean, then always the farthest one.

    Returned are ``depth`` or all candidates in order, of features (N, D), each the farthest from those before it.
    """
    norms, mean = (features**2).sum(1), features.mean(0)
    pick = int(np.argmin(norms - 2 * (features @ mean)))
    nearest, order = np.full(len(features), np.inf), []
    for _ in range(min(depth, len(features))):
        order.append(pick)
        nearest = np.minimum(nearest, np.maximum(norms + norms[pick] - 2 * (features @ features[pick]), 0))
        nearest[order] = -1  # a copy of one that is picked still comes before it
        pick = int(np.argmax(nearest))
    return np.array(order, dtype=np.int64)


def moderate_order(features: np.ndarray) -> np.ndarray:
    """Moderate coreset (Xia et al., ICLR 2023): those come first whose distance to the mean is nearest to the median.

    Returned are all (N,) candidates in order, of features (N, D).
    """
    distance = np.linalg.norm(features - features.mean(0), axis=1)
    return np.argsort(np.abs(distance - np.median(distance)), kind="stable")


def coverage_centric_order(
    difficulty: np.ndarray, pruned: float, strata: int, random: np.random.Generator
) -> np.ndarray:
    """Coverage-centric selection (CCS, Zheng et al., ICLR 2023), as one order for every budget.

    The hardest candidates go to the end, easier ones of them first. The others fall into strata of equal width in
    difficulty, and one random member of each stratum that is not empty is taken in turn. The paper divides a given
    budget over the strata, the smallest stratum first, and samples each anew. Taking turns gives every stratum the same
    number up to one, with what small strata lack passed on to the others: the paper's shares at every budget, and
    nested. A paper's share of pruned candidates may grow as the budget falls; here it is one for all.

    Difficulties are (N,), larger is harder, and the share ``pruned`` is below 1. Returned are all (N,) candidates in
    order.
    """
    by_difficulty = np.argsort(difficulty, kind="stable")
    kept, late = np.split(by_difficulty, [max(1, len(difficulty) - round(pruned * len(difficulty)))])
    edges = np.linspace(difficulty[kept[0]], difficulty[kept[-1]], strata + 1)[1:-1]
    stratum = np.searchsorted(edges, difficulty[kept], side="right")
    members = random.permutation(len(kept))
    members = members[np.argsort(stratum[members], kind="stable")]
    own = stratum[members]
    turn = np.arange(len(members)) - np.searchsorted(own, own)  # how many of its stratum come before it
    dealt = members[np.lexsort([random.random(len(members)), turn])]
    return np.concatenate([kept[dealt], late])
