"""Means and standard deviations of channels, what a candidate looks like whatever it shows, shared between classes.

In a set of few images whatever differs from class to class by chance, a colour or a contrast, tells the classes apart
as well as what the images show, and a student learns it. So every class is given the same channel statistics.
"""

from itertools import chain

import numpy as np

from ddselect.runtime.seeds import numpy_generator
from ddselect.selection.ranking import DEPTH, k_means, levels

_SEEN = 20000  # candidates that centres are found on, at most: k-means with 400 clusters then takes seconds


class SharedChannelStats:
    """Centres of the channel statistics of all classes' candidates, as a sequence whose every beginning covers them.

    The first is the mean. At every level k of the 1-2-5 series the candidates are clustered by k-means into k clusters;
    each centre before belongs to one centroid, all of them as near as can be, and the other centroids follow, those of
    most candidates first.
    """

    def __init__(self, stats: np.ndarray, seed: int) -> None:
        """Of stats (M, D) of all candidates, which count in units of their standard deviations over all of these."""
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        self._mean, self._scale = stats.mean(0), stats.std(0) + 1e-6
        seen = numpy_generator(seed, "styles").permutation(len(stats))[:_SEEN]
        points = self._scaled(stats[np.sort(seen)])
        found = np.zeros((0, points.shape[1]))
        for level in levels(min(DEPTH, len(points))):
            centroids, labels = k_means(points, level, seed)
            _, held = linear_sum_assignment(cdist(found, centroids))
            crowd = np.bincount(labels, minlength=level)
            free = np.setdiff1d(np.argsort(-crowd, kind="stable"), held, assume_unique=True)
            found = np.concatenate([found, centroids[free]])
        self.sequence = found

    def _scaled(self, stats: np.ndarray) -> np.ndarray:
        return (stats - self._mean) / self._scale

    def distances(self, stats: np.ndarray) -> np.ndarray:
        """(n, K) squared distance of each of some candidates (n, D) to each centre of the sequence."""
        points = self._scaled(stats)
        norms = (points**2).sum(1)[:, None] + (self.sequence**2).sum(1)
        return norms - 2 * points @ self.sequence.T


def order_by_centres(distances: np.ndarray, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """A class's candidates, one for each centre: of those that are left, the nearest.

    Distances are (n, K) to each centre of the sequence; ``lead`` candidates go to the first centre, where more than
    one.

    Returns:
        (m,) order, m being n or, if that is less, the number of turns; and (m,) the centre of each.
    """
    left, order, turns = distances.copy(), list[int](), list[int]()
    for centre in chain([0] * (lead - 1), range(distances.shape[1])):
        if len(order) == len(distances):
            break
        nearest = int(left[:, centre].argmin())
        left[nearest] = np.inf
        order.append(nearest)
        turns.append(centre)
    return np.array(order, dtype=np.int64), np.array(turns, dtype=np.int32)
