"""The published method, selection by a diffusion prior's difference score, and this score alone."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ddselect.selection.base import CandidateSelectionConfig, ClassCandidates, Order, unclustered
from ddselect.selection.ranking import best_share, cluster_order

# Share of a class's candidates that are clustered, those of the highest score; the rest follows by rank. The closest
# public ancestor (Diffusion Models as Data Mining Tools) clusters the best 1000 of a class.
_CAP = 0.2


@dataclass
class TopScoreConfig(CandidateSelectionConfig):
    """The candidates of the highest difference score; it needs neither a teacher nor an embedding."""

    scored_by: ClassVar[str] = "prior"


@dataclass
class DiffusionConfig(TopScoreConfig):
    """Diffusion-driven selection (arXiv 2412.09959): k-means of the best of a class, clusters ranked by score.

    Of what was embedded it reads the features alone, and every class is ordered on its own; see
    :func:`ddselect.selection.ranking.cluster_order`. Only the paper's abstract is public: where it is silent (how many
    are clustered into how many, nested orders), the choice is ours.
    """

    @property
    def embeds(self) -> tuple[str, ...]:
        return ("features",)

    def order(self, candidates: ClassCandidates) -> Order:
        kept, others = best_share(candidates.scores, _CAP)
        order, clusters = cluster_order(candidates.scores[kept], candidates.embedded["features"][kept], candidates.seed)
        late, none = unclustered(others)
        return np.concatenate([kept[order], late]), np.concatenate([clusters, none])
