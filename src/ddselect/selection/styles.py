"""The styles that all classes share; a style is what a candidate looks like, whatever it shows.

In a set of few images whatever differs from class to class by chance, a colour or a contrast, tells the classes apart
as well as what the images show, and a student learns it. So every class is given the same styles.
"""

from itertools import chain
from pathlib import Path

import numpy as np

from ddselect.embed.feature_table import FeatureTable, feature_shards
from ddselect.embed.settings import EmbedConfig
from ddselect.runtime.seeds import numpy_generator
from ddselect.runtime.shards import ShardPlan
from ddselect.selection.ranking import k_means, levels

STYLES_VERSION = 1  # of what the stage writes
READING = EmbedConfig("style")  # how candidates are read
_STYLES, _SEEN = 400, 20000  # how many there are, and candidates that they are found on, at most


def style_shards(folder: Path, rows: int) -> ShardPlan:
    """The shards of styles, in the order of the score table."""
    return feature_shards(folder, rows, READING.shard_size)


class SharedStyles:
    """The styles of the candidates of all classes, as a sequence whose every beginning covers them.

    The first is the mean. At every level k of the 1-2-5 series the candidates are clustered by k-means into k clusters;
    each style before belongs to one centroid, all of them as near as can be, and the other centroids follow, those of
    most candidates first.
    """

    def __init__(self, styles: np.ndarray, seed: int) -> None:
        """Of styles (M, D) of all candidates, which count in units of their standard deviations over all of these."""
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        self._mean, self._scale = styles.mean(0), styles.std(0) + 1e-6
        seen = numpy_generator(seed, "styles").permutation(len(styles))[:_SEEN]
        points = self._scaled(styles[np.sort(seen)])
        found = np.zeros((0, points.shape[1]))
        for level in levels(min(_STYLES, len(points))):
            centres, labels = k_means(points, level, seed)
            _, held = linear_sum_assignment(cdist(found, centres))
            crowd = np.bincount(labels, minlength=level)
            free = np.setdiff1d(np.argsort(-crowd, kind="stable"), held, assume_unique=True)
            found = np.concatenate([found, centres[free]])
        self.sequence = found

    def _scaled(self, styles: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (styles - self._mean) / self._scale
        return scaled

    def distances(self, styles: np.ndarray) -> np.ndarray:
        """(n, K) squared distance of each of some candidates (n, D) to each style of the sequence."""
        points = self._scaled(styles)
        norms = (points**2).sum(1)[:, None] + (self.sequence**2).sum(1)
        found: np.ndarray = norms - 2 * points @ self.sequence.T
        return found


def shared_styles(table: FeatureTable, rows: int, seed: int) -> dict[str, SharedStyles]:
    """By kind, the styles of the candidates of all images, of which there are ``rows``."""
    return {kind: SharedStyles(styles, seed) for kind, styles in table.read(np.arange(rows)).items()}


def order_by_style(distances: np.ndarray, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """A class's candidates, one for each style: of those that are left, the nearest.

    Args:
        distances: (n, K) of each candidate to each style of the sequence.
        lead: Candidates for the first style, where more than one.

    Returns:
        (m,) order, m being n or, if that is less, the number of turns; and (m,) the style of each.
    """
    left, order, turns = distances.copy(), list[int](), list[int]()
    for style in chain([0] * (lead - 1), range(distances.shape[1])):
        if len(order) == len(distances):
            break
        nearest = int(left[:, style].argmin())
        left[nearest] = np.inf
        order.append(nearest)
        turns.append(style)
    return np.array(order, dtype=np.int64), np.array(turns, dtype=np.int32)
