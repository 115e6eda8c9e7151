"""The method: the difference score of a diffusion prior, the teacher's confidence, clusters within the class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ddselect.runtime.errors import UserError
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import optional
from ddselect.selection.base import CandidateSelection, Order, unclustered
from ddselect.selection.ranking import agreed, embedding, nested_order

CONFIDENCE_VERSION = 1  # of what the stage writes


@dataclass
class DiffusionSelection(CandidateSelection):
    """Difference score and confidence, k-means within the class on features, one member of each cluster.

    Attributes:
        confidence: Share of the teacher's confidence (a low loss) in what ranks candidates, from 0 to 1; the rest
            is the score. See :func:`ddselect.selection.ranking.agreed`.
        keep: Share of a class's candidates that stay: those that rank lowest go first.
        crop_pick: Which crop a cluster gives: the ``best`` ranked, the ``nearest`` to the centroid, ``both``: the least
            sum of its places by these two, or ``top``: by rank alone, without clusters.
        image_pick: The same for whole images.
        lead: Crops of a class that come by rank alone before clusters begin.
        clusters_per_pick: Clusters for each candidate that is picked.
        components: Principal components of the features that are clustered, where there are more; 0 for all.
        depth: Number of candidates per class and kind ordered by clusters; the rest follows by rank.
    """

    keep: float = 0.8
    crop_pick: str = "best"
    image_pick: str = "best"
    clusters_per_pick: float = 1.0
    components: int = 64
    depth: int = 400
    lead: int = optional(0)
    confidence: float = optional(0.5, silent_at=0.0)

    scored_by: ClassVar[str] = "prior"

    @property
    def needs_features(self) -> bool:
        return {self.crop_pick, self.image_pick} != {"top"}

    @property
    def needs_confidence(self) -> bool:
        return self.confidence > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.confidence <= 1:
            raise UserError(f"selection.confidence={self.confidence}: a share from 0 to 1 is needed")
        if not 0 < self.keep <= 1:
            raise UserError(f"selection.keep={self.keep}: a share above 0, up to 1, is needed")
        for name in ("crop_pick", "image_pick"):
            if getattr(self, name) not in ("best", "nearest", "both", "top"):
                raise UserError(f"selection.{name}={getattr(self, name)}: choose best, nearest, both or top")
        if self.clusters_per_pick <= 0:
            raise UserError(f"selection.clusters_per_pick={self.clusters_per_pick}: a number above 0 is needed")
        for name, least in (("components", 0), ("depth", 1), ("lead", 0)):
            if getattr(self, name) < least:
                raise UserError(f"selection.{name}={getattr(self, name)}: at least {least} is needed")

    def worth(self, scores: np.ndarray, losses: np.ndarray | None) -> np.ndarray:
        return scores if losses is None else agreed(scores, losses, self.confidence)

    def order(self, scores: np.ndarray, features: np.ndarray | None, kind: str, label: int, seed: int) -> Order:
        """Those that stay, by clusters; then the others by rank."""
        pick = self.crop_pick if kind == "crop" else self.image_pick
        by_rank = np.argsort(-scores, kind="stable")
        if pick == "top" or features is None:
            return unclustered(by_rank)
        kept = by_rank[: max(1, round(self.keep * len(scores)))]
        key = key64(seed, "k-means")
        points = embedding(features[kept], self.components, key)
        lead = self.lead if kind == "crop" else 0
        order, clusters = nested_order(scores[kept], points, pick, self.depth, key, self.clusters_per_pick, lead)
        late, none = unclustered(by_rank[len(kept) :])
        return np.concatenate([kept[order], late]), np.concatenate([clusters, none])
