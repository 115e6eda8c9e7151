"""Coresets: rivals that look at the teacher's features or losses, and at no diffusion model."""

from dataclasses import dataclass

import numpy as np

from ddselect.runtime.errors import UserError
from ddselect.runtime.seeds import key64, numpy_generator
from ddselect.selection.base import Order, unclustered
from ddselect.selection.greedy import coverage_centric_order, herding_order, k_center_order, moderate_order
from ddselect.selection.ranking import embedding, nested_order
from ddselect.selection.rded import TeacherScoredConfig


@dataclass
class CoresetConfig(TeacherScoredConfig):
    """A coreset of a class's features, of whole images and, apart from these, of RDED's crops: one of each image."""

    @property
    def needs_features(self) -> bool:
        return True

    def order(self, scores: np.ndarray, features: np.ndarray | None, kind: str, label: int, seed: int) -> Order:
        if features is None:
            raise ValueError(f"the selection {self.name} needs features")
        return unclustered(self.order_features(features))

    def order_features(self, features: np.ndarray) -> np.ndarray:
        """Candidates in order, by their features (n, D)."""
        raise UserError(f"selection {self.name}: class {type(self).__name__} orders nothing")


@dataclass
class GreedyCoresetConfig(CoresetConfig):
    """A coreset that takes one candidate after another, each in view of those before.

    Attributes:
        depth: Number of candidates per class and kind ordered so; the rest follows in the order of the index.
    """

    depth: int = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1:
            raise UserError(f"selection.depth={self.depth}: at least 1 is needed")


@dataclass
class HerdingConfig(GreedyCoresetConfig):
    """Herding: see :func:`herding_order`."""

    def order_features(self, features: np.ndarray) -> np.ndarray:
        return _and_the_rest(herding_order(features, self.depth), len(features))


@dataclass
class KCenterConfig(GreedyCoresetConfig):
    """k-center greedy: see :func:`k_center_order`."""

    def order_features(self, features: np.ndarray) -> np.ndarray:
        return _and_the_rest(k_center_order(features, self.depth), len(features))


@dataclass
class ModerateConfig(CoresetConfig):
    """Moderate coreset: see :func:`moderate_order`."""

    def order_features(self, features: np.ndarray) -> np.ndarray:
        return moderate_order(features)


@dataclass
class ClustersConfig(GreedyCoresetConfig):
    """k-means without a score: the member nearest to each centroid, larger clusters first; see :func:`nested_order`.

    Attributes:
        clusters_per_pick: Clusters for each candidate that is picked.
        components: Principal components of the features that are clustered, where there are more; 0 for all.
    """

    clusters_per_pick: float = 1.0
    components: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clusters_per_pick <= 0:
            raise UserError(f"selection.clusters_per_pick={self.clusters_per_pick}: a number above 0 is needed")
        if self.components < 0:
            raise UserError(f"selection.components={self.components}: at least 0 is needed")

    def order(self, scores: np.ndarray, features: np.ndarray | None, kind: str, label: int, seed: int) -> Order:
        if features is None:
            raise ValueError("clusters need features")
        key = key64(seed, "k-means")
        points = embedding(features, self.components, key)
        return nested_order(None, points, "nearest", self.depth, key, self.clusters_per_pick)


@dataclass
class CCSConfig(TeacherScoredConfig):
    """Coverage-centric coreset by the teacher's loss: see :func:`coverage_centric_order`.

    Attributes:
        pruned: Share of a class's candidates, those with the highest loss, that go last.
        strata: Strata of equal width in the loss that the others are drawn from.
    """

    pruned: float = 0.3
    strata: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pruned < 1:
            raise UserError(f"selection.pruned={self.pruned}: a share from 0 to below 1 is needed")
        if self.strata < 1:
            raise UserError(f"selection.strata={self.strata}: at least 1 is needed")

    def order(self, scores: np.ndarray, features: np.ndarray | None, kind: str, label: int, seed: int) -> Order:
        random = numpy_generator(seed, "strata", kind, label)
        return unclustered(coverage_centric_order(-scores, self.pruned, self.strata, random))


def _and_the_rest(order: np.ndarray, count: int) -> np.ndarray:
    """An order of some of ``count`` candidates, and those that it lacks."""
    return np.concatenate([order, np.setdiff1d(np.arange(count), order)])
