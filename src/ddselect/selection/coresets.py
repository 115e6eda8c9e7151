"""Coresets: rivals that look at the teacher's features or losses, and at no diffusion model."""

from dataclasses import dataclass

import numpy as np

from ddselect.runtime.errors import UserError, at_least, shares
from ddselect.runtime.seeds import numpy_generator
from ddselect.selection.base import ClassCandidates, Order, unclustered
from ddselect.selection.greedy import coverage_centric_order, herding_order, k_center_order, moderate_order
from ddselect.selection.ranking import DEPTH, cluster_order
from ddselect.selection.rded import TeacherScoredConfig


@dataclass
class CoresetConfig(TeacherScoredConfig):
    """A coreset of a class's features, of whole images and, apart from these, of RDED's crops: one of each image."""

    @property
    def embeds(self) -> tuple[str, ...]:
        return ("features",)

    def order(self, candidates: ClassCandidates) -> Order:
        """As :meth:`order_features` has them; those that it leaves out follow in the order of the index."""
        features = candidates.embedded["features"]
        order = self.order_features(features)
        return unclustered(np.concatenate([order, np.setdiff1d(np.arange(len(features)), order)]))

    def order_features(self, features: np.ndarray) -> np.ndarray:
        """Candidates in order, or the first of them, by their features (n, D)."""
        raise UserError(f"selection {self.name}: class {type(self).__name__} orders nothing")


@dataclass
class HerdingConfig(CoresetConfig):
    """Herding: see :func:`herding_order`."""

    def order_features(self, features: np.ndarray) -> np.ndarray:
        return herding_order(features, DEPTH)


@dataclass
class KCenterConfig(CoresetConfig):
    """k-center greedy: see :func:`k_center_order`."""

    def order_features(self, features: np.ndarray) -> np.ndarray:
        return k_center_order(features, DEPTH)


@dataclass
class ModerateConfig(CoresetConfig):
    """Moderate coreset: see :func:`moderate_order`."""

    def order_features(self, features: np.ndarray) -> np.ndarray:
        return moderate_order(features)


@dataclass
class ClustersConfig(CoresetConfig):
    """k-means without a score: the member nearest to each centroid, larger clusters first: :func:`cluster_order`."""

    def order(self, candidates: ClassCandidates) -> Order:
        return cluster_order(None, candidates.embedded["features"], candidates.seed)


@dataclass
class CCSConfig(TeacherScoredConfig):
    """Coverage-centric coreset by the teacher's loss: see :func:`coverage_centric_order`."""

    pruned: float = 0.3
    strata: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        shares("selection", self, "pruned", below_one=True)
        at_least(1, "selection", self, "strata")

    def order(self, candidates: ClassCandidates) -> Order:
        random = numpy_generator(candidates.seed, "strata", candidates.kind, candidates.label)
        return unclustered(coverage_centric_order(-candidates.scores, self.pruned, self.strata, random))
