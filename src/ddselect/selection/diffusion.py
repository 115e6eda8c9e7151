"""The method: the difference score of a diffusion prior, the teacher's confidence, styles that all classes share."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ddselect.runtime.errors import UserError
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import optional
from ddselect.selection.base import CandidateSelectionConfig, Order, unclustered
from ddselect.selection.greedy import k_center_order
from ddselect.selection.ranking import agreed, embedding, nested_order
from ddselect.selection.styles import order_by_style

CONFIDENCE_VERSION = 1  # of what the stage writes
PICKS = ("style", "spread", "best", "nearest", "both", "top")


@dataclass
class DiffusionConfig(CandidateSelectionConfig):
    """Ranks candidates by difference score and confidence, and takes of the better ones one of each style.

    Attributes:
        confidence: Share of the teacher's confidence (a low loss) in what ranks candidates, from 0 to 1; the rest
            is the score. See :func:`ddselect.selection.ranking.agreed`.
        keep: Share of a class's candidates that stay: those that rank lowest go first.
        spread_keep: The same for a kind whose candidates are taken by ``spread``.
        crop_pick: How crops are taken. ``style``: for each style that all classes share the nearest, see
            :mod:`ddselect.selection.styles`. ``spread``: always the farthest, in the class's features, from those
            taken before, see :func:`ddselect.selection.greedy.k_center_order`. From clusters of these features: the
            ``best`` ranked, the ``nearest`` to the centroid, or ``both``: the least sum of its places by these two.
            ``top``: by rank alone.
        image_pick: The same for whole images; None leaves it to :meth:`resolve`, without which it is ``style``.
        lead: Crops of a class that come before styles or features count: of the mean style, or by rank alone.
        clusters_per_pick: Clusters for each candidate that is picked.
        components: Principal components of the features that are clustered, where there are more; 0 for all.
        depth: Number of candidates per class and kind ordered by features; the rest follows by rank.
    """

    keep: float = 0.5
    crop_pick: str = "style"
    image_pick: str | None = None
    clusters_per_pick: float = 1.0
    components: int = 64
    depth: int = 400
    lead: int = optional(0)
    spread_keep: float = optional(0.8)
    confidence: float = optional(0.5, silent_at=0.0)

    scored_by: ClassVar[str] = "prior"

    @property
    def picks(self) -> dict[str, str]:
        """How candidates are taken, by kind."""
        return {"crop": self.crop_pick, "image": self.image_pick or "style"}

    @property
    def needs_features(self) -> bool:
        return not set(self.picks.values()) <= {"top", "style"}

    @property
    def styled(self) -> tuple[str, ...]:
        return tuple(kind for kind, pick in self.picks.items() if pick == "style")

    @property
    def needs_confidence(self) -> bool:
        return self.confidence > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.confidence <= 1:
            raise UserError(f"selection.confidence={self.confidence}: a share from 0 to 1 is needed")
        for name in ("keep", "spread_keep"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"selection.{name}={getattr(self, name)}: a share above 0, up to 1, is needed")
        for kind, pick in self.picks.items():
            if pick not in PICKS:
                raise UserError(f"selection.{kind}_pick={pick}: choose {', '.join(PICKS[:-1])} or {PICKS[-1]}")
        if self.clusters_per_pick <= 0:
            raise UserError(f"selection.clusters_per_pick={self.clusters_per_pick}: a number above 0 is needed")
        for name, least in (("components", 0), ("depth", 1), ("lead", 0)):
            if getattr(self, name) < least:
                raise UserError(f"selection.{name}={getattr(self, name)}: at least {least} is needed")

    def resolve(self, whole: float, soft: bool) -> "DiffusionConfig":
        """Whole images, where they are taken at all, are ``spread`` under soft labels and by ``style`` otherwise.

        A teacher says of an odd image what it is, and a student learns from it; a class label says it is a typical one.
        """
        return replace(self, image_pick=self.image_pick or ("spread" if soft and whole > 0 else "style"))

    def worth(self, scores: np.ndarray, losses: np.ndarray | None) -> np.ndarray:
        return scores if losses is None else agreed(scores, losses, self.confidence)

    def order(self, scores: np.ndarray, features: np.ndarray | None, kind: str, label: int, seed: int) -> Order:
        """Those that stay, by their features; then the others by rank."""
        pick = self.picks[kind]
        if pick == "top" or features is None:
            return unclustered(np.argsort(-scores, kind="stable"))
        kept, others = self._split(scores, self.spread_keep if pick == "spread" else self.keep)
        lead = self.lead if kind == "crop" else 0
        if pick == "spread":
            order = k_center_order(features[kept], self.depth, lead)
            return unclustered(np.concatenate([kept[order], np.delete(kept, order), others]))
        key = key64(seed, "k-means")
        points = embedding(features[kept], self.components, key)
        order, clusters = nested_order(scores[kept], points, pick, self.depth, key, self.clusters_per_pick, lead)
        return _joined((kept[order], clusters), others)

    def order_styled(self, scores: np.ndarray, distances: np.ndarray, kind: str) -> Order:
        """Of those that stay, one for each style; then the others by rank."""
        kept, others = self._split(scores, self.keep)
        order, styles = order_by_style(distances[kept], self.lead if kind == "crop" else 0)
        rest = np.delete(kept, order)
        return _joined((kept[order], styles), np.concatenate([rest, others]))

    def _split(self, scores: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """The share of the candidates that stays and those that do not, each by rank."""
        by_rank = np.argsort(-scores, kind="stable")
        stay = max(1, round(share * len(scores)))
        return by_rank[:stay], by_rank[stay:]


def _joined(first: Order, late: np.ndarray) -> Order:
    """An order, and candidates that follow it without clusters."""
    order, none = unclustered(late)
    return np.concatenate([first[0], order]), np.concatenate([first[1], none])
