"""The ``selection`` group: what a method may look at, and what it gives back."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.dataset.index import Index
from ddselect.embed.feature_table import FeatureTable
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import one_thread_each
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.store import execution
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection.styles import shared_styles
from ddselect.selection.table import Candidates, ranked

VERSION = 4
Order = tuple[np.ndarray, np.ndarray]  # (n,) candidates, best first, and (n,) the cluster of each, -1 for none


@dataclass(frozen=True)
class SelectionInputs:
    """What a method may look at.

    Attributes:
        index: The training images.
        view: Side in pixels of the square view that is composed and trained on.
        seed: Seed of everything random in the selection.
        scores: Folder of the candidates and their scores, by the prior or by the teacher as the method asked for; None
            if it asked for none.
        features: The shards of the candidates' features, if the method asked for them.
        confidence: The shards of the teacher's losses on the prior's candidates, if the method asked for them.
        styles: The shards of their styles, if the method asked for them.
    """

    index: Index
    view: int
    seed: int
    scores: Path | None = None
    features: ShardPlan | None = None
    confidence: ShardPlan | None = None
    styles: ShardPlan | None = None


@dataclass
class SelectionConfig:
    """A method of selection; see ``conf/selection/``.

    Attributes:
        name: Name in results and reports.
        whole: Share of the distilled images that are whole images rather than stitched crops: what
            ``composition.whole`` is unless it is set. None leaves it to the composition.
        mix_classes: Whether the crops of a stitched image are of different classes: ``composition.mix_classes``
            likewise.
        scored_by: Who makes and scores its candidates: ``prior``, ``teacher``, or nobody ("").
        limit: False for a method that takes all images whatever the IPC.
    """

    name: str
    whole: float | None = execution(None)  # a method whose ranks depend on it says so in a field that it settles
    mix_classes: bool = execution(False)

    scored_by: ClassVar[str] = ""
    limit: ClassVar[bool] = True

    @property
    def needs_features(self) -> bool:
        """Whether it looks at features of the candidates."""
        return False

    @property
    def needs_confidence(self) -> bool:
        """Whether it asks the teacher about candidates that the prior scored."""
        return False

    @property
    def needs_styles(self) -> bool:
        """Whether it looks at the styles of candidates that the prior scored."""
        return False

    def __post_init__(self) -> None:
        if self.whole is not None and not 0 <= self.whole <= 1:
            raise UserError(f"selection.whole={self.whole}: a share from 0 to 1 is needed")

    def resolve(self, whole: float, soft: bool) -> "SelectionConfig":
        """This method with what its settings leave open decided by what the run makes of it; most leave nothing open.

        Args:
            whole: Share of the distilled images that are whole images.
            soft: Whether all protocols of the run have soft labels.
        """
        return self

    def rank(self, material: SelectionInputs) -> list[pa.Table]:
        """Ranks crops and whole images within every class: tables of :data:`ddselect.selection.table.SCHEMA`."""
        raise UserError(f"selection {self.name}: class {type(self).__name__} ranks nothing")


@dataclass
class CandidateSelectionConfig(SelectionConfig):
    """A method that orders the scored crops and whole images of each class on their own."""

    @property
    def styled(self) -> tuple[str, ...]:
        """The kinds whose candidates are ordered by style."""
        return ()

    @property
    def needs_styles(self) -> bool:
        return bool(self.styled)

    def worth(self, scores: np.ndarray, losses: np.ndarray | None) -> np.ndarray:
        """What a class's candidates of one kind are ordered by, (n,), larger is better: their scores.

        Args:
            scores: (n,) float32, larger is better.
            losses: (n,) float32 losses of the teacher, if the method needs its confidence.
        """
        return scores

    def order(self, scores: np.ndarray, features: np.ndarray | None, kind: str, label: int, seed: int) -> Order:
        """The order of a class's candidates of one kind.

        Args:
            scores: (n,) float32, as :meth:`worth` gives them, larger is better.
            features: (n, D) float32, if the method needs them.
            kind: ``crop`` or ``image``.
            label: The class.
            seed: Seed of the selection.
        """
        raise UserError(f"selection {self.name}: class {type(self).__name__} orders nothing")

    def order_styled(self, scores: np.ndarray, distances: np.ndarray, kind: str) -> Order:
        """The order of a class's candidates of one of the kinds ``styled``.

        Args:
            scores: (n,) float32, as :meth:`worth` gives them, larger is better.
            distances: (n, K) of each to the styles that all classes share.
            kind: ``crop`` or ``image``.
        """
        raise UserError(f"selection {self.name}: class {type(self).__name__} knows no styles")

    def rank(self, material: SelectionInputs) -> list[pa.Table]:
        if material.scores is None:
            raise ValueError(f"the selection {self.name} needs scores")
        table = read_scores(material.scores)
        index, crops = scored_images(material.index, table), crops_of(table)
        features = confidence = styles = None
        if self.needs_features:
            if material.features is None:
                raise ValueError(f"the selection {self.name} needs features")
            features = FeatureTable(material.features, crops.starts)
        if self.needs_confidence:
            if material.confidence is None:
                raise ValueError(f"the selection {self.name} needs the teacher's confidence")
            confidence = FeatureTable(material.confidence, crops.starts)
        if self.needs_styles:
            if material.styles is None:
                raise ValueError(f"the selection {self.name} needs styles")
            styles = FeatureTable(material.styles, crops.starts)
        shared = shared_styles(styles, len(index), key64(material.seed, "styles")) if styles else {}
        whole, image_scores = index.square_boxes(), table["image_score"].to_numpy().astype(np.float32)
        del table

        def rank_class(label: int, rows: np.ndarray) -> list[pa.Table]:
            mine = np.concatenate([np.arange(crops.starts[row], crops.starts[row + 1]) for row in rows])
            embedded = features.read(rows) if features else {}
            losses = confidence.read(rows) if confidence else {}
            looks = styles.read(rows) if styles else {}
            found = []
            for kind, candidates in (
                ("crop", Candidates(crops.rows[mine], crops.boxes[mine], crops.scores[mine])),
                ("image", Candidates(rows, whole[rows], image_scores[rows])),
            ):
                worth = self.worth(candidates.scores, losses.get(kind))
                if kind in self.styled:
                    order, clusters = self.order_styled(worth, shared[kind].distances(looks[kind]), kind)
                else:
                    order, clusters = self.order(worth, embedded.get(kind), kind, label, material.seed)
                found.append(ranked(candidates.take(order), clusters, index, label, kind))
            return found

        labels, by_class, parts = range(len(index.class_names)), list(rows_by_class(index)), []
        with counting(self.name, len(by_class), "classes") as counter, one_thread_each() as pool:
            for part in pool.map(rank_class, labels, by_class):
                parts += part
                counter.advance()
        return parts


def rows_by_class(index: Index) -> Iterator[np.ndarray]:
    """Row numbers of each class, rising."""
    order = np.argsort(index.labels, kind="stable")
    yield from np.split(order, np.searchsorted(index.labels[order], np.arange(1, len(index.class_names))))


def unclustered(order: np.ndarray) -> Order:
    """An order without clusters."""
    return order, np.full(len(order), -1, dtype=np.int32)
