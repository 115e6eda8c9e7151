"""The published method, selection by a diffusion prior's difference score, and this score alone."""

from dataclasses import dataclass
from typing import ClassVar

from ddselect.selection.base import CandidateSelectionConfig, ClassCandidates, Order
from ddselect.selection.ranking import cluster_order


@dataclass
class TopScoreConfig(CandidateSelectionConfig):
    """The candidates of the highest difference score; it needs neither a teacher nor an embedding."""

    scored_by: ClassVar[str] = "prior"


@dataclass
class DiffusionConfig(TopScoreConfig):
    """Diffusion-driven selection (arXiv 2412.09959): k-means within the class, clusters and members ranked by score.

    Of what was embedded it reads the features alone, and every class is ordered on its own; see
    :func:`ddselect.selection.ranking.cluster_order`. Only the paper's abstract is public: where it is silent (number of
    clusters, nested orders), the choice is ours.
    """

    @property
    def embeds(self) -> tuple[str, ...]:
        return ("features",)

    def order(self, candidates: ClassCandidates) -> Order:
        return cluster_order(candidates.scores, candidates.embedded["features"], candidates.seed)
