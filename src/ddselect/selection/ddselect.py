"""What this project adds to the published method: the teacher's loss, and picks that keep small sets diverse."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ddselect.embed.table import EmbedTable
from ddselect.runtime.errors import UserError, shares
from ddselect.runtime.seeds import key64
from ddselect.selection.base import CandidateSelectionConfig, ClassCandidates, Order, by_score, unclustered
from ddselect.selection.channel_stats import SharedChannelStats, order_by_centres
from ddselect.selection.greedy import herding_order
from ddselect.selection.ranking import DEPTH, best_share, weighted_places

PICKS = ("channel_stats", "herding", "score")
# Shares of a class's candidates, the highest ranked, that picks choose from; the rest follows by rank. That of channel
# statistics was measured on drawn scenes, that of herding on validation images of CIFAR-10 (experiments/real).
_KEEP, _HERDING_KEEP = 0.5, 0.1


@dataclass
class DDSelectConfig(CandidateSelectionConfig):
    """Ranks candidates by difference score and teacher loss, and picks among the better ones.

    Attributes:
        lead: No setting; :meth:`resolve` decides it. Crops of a class that come first whatever is picked: the nearest
            to the mean of all classes, or by rank.
    """

    teacher_weight: float = 0.5
    crop_pick: str = "channel_stats"
    image_pick: str | None = None
    lead: int = field(default=0, init=False)

    scored_by: ClassVar[str] = "prior"

    def __post_init__(self) -> None:
        super().__post_init__()
        shares("selection", self, "teacher_weight")
        for kind, pick in self.picks.items():
            if pick not in PICKS:
                raise UserError(f"selection.{kind}_pick={pick}: choose {', '.join(PICKS[:-1])} or {PICKS[-1]}")

    @property
    def picks(self) -> dict[str, str]:
        """How candidates are picked, by kind."""
        return {"crop": self.crop_pick, "image": self.image_pick or "channel_stats"}

    @property
    def embeds(self) -> tuple[str, ...]:
        picks = self.picks.values()
        reads = {
            "features": "herding" in picks,
            "loss": self.teacher_weight > 0,
            "channel_stats": "channel_stats" in picks,
        }
        return tuple(name for name, wanted in reads.items() if wanted)

    def resolve(self, factor: int, whole: float, soft: bool) -> "DDSelectConfig":
        """Settles how whole images are picked, and how many crops lead.

        Whole images, where there are any, are picked by ``herding`` under soft labels (experiments/real) and by
        ``channel_stats`` otherwise.

        As many crops lead as the first stitched image holds, so that IPC 1 shows the class as it mostly looks
        (tag history-0.1); the share of whole images is left out of it, so that IPCs share one order of crops.
        """
        by_labels = "herding" if soft and whole > 0 else "channel_stats"
        resolved = replace(self, image_pick=self.image_pick or by_labels)
        resolved.lead = factor**2 if factor > 1 else 0
        return resolved

    def across_classes(self, embedding: EmbedTable, images: int, seed: int) -> Callable[[ClassCandidates], Order]:
        kinds = [kind for kind, pick in self.picks.items() if pick == "channel_stats"]
        stats = embedding.read(np.arange(images), "channel_stats") if kinds else {}
        shared = {kind: SharedChannelStats(stats[kind], key64(seed, "styles")) for kind in kinds}

        def order(candidates: ClassCandidates) -> Order:
            of_all = shared.get(candidates.kind)
            return self.order_by_stats(candidates, of_all) if of_all else self.order(candidates)

        return order

    def order_by_stats(self, candidates: ClassCandidates, shared: SharedChannelStats) -> Order:
        """Of the better candidates one for each centre, which is its cluster; then the others by rank."""
        kept, others = best_share(self.worth(candidates), _KEEP)
        distances = shared.distances(candidates.embedded["channel_stats"][kept])
        order, centres = order_by_centres(distances, self.lead if candidates.kind == "crop" else 0)
        late, none = unclustered(np.concatenate([np.delete(kept, order), others]))
        return np.concatenate([kept[order], late]), np.concatenate([centres, none])

    def order(self, candidates: ClassCandidates) -> Order:
        """By rank, or of the best candidates by ``herding`` and then the others by rank."""
        worth = self.worth(candidates)
        if self.picks[candidates.kind] == "score":
            return by_score(worth)
        kept, others = best_share(worth, _HERDING_KEEP)
        order = herding_order(candidates.embedded["features"][kept], DEPTH)
        return unclustered(np.concatenate([kept[order], np.delete(kept, order), others]))

    def worth(self, candidates: ClassCandidates) -> np.ndarray:
        """(n,) what candidates are ranked by, larger is better."""
        if self.teacher_weight == 0:
            return candidates.scores
        return weighted_places(candidates.scores, candidates.embedded["loss"], self.teacher_weight)
