"""The ``selection`` group: what a method may look at, and what it gives back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.dataset.index import Index
from ddselect.embed.table import EmbedTable
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import one_thread_each
from ddselect.runtime.progress import counting
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.store import execution
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection.table import Candidates, ranked

VERSION = 5  # numbers that decide an order are constants of this package: whoever changes one raises this
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
        embedding: The shards of what was embedded of these candidates, if the method reads any of it.
    """

    index: Index
    view: int
    seed: int
    scores: Path | None = None
    embedding: ShardPlan | None = None


@dataclass(frozen=True)
class ClassCandidates:
    """The candidates of one class and kind, as a method orders them.

    Attributes:
        kind: ``crop`` or ``image``.
        label: The class.
        seed: Seed of the selection.
        scores: (n,) float32, larger is better.
        embedded: For each field that the method reads (``embeds``), (n, ...) float32.
    """

    kind: str
    label: int
    seed: int
    scores: np.ndarray
    embedded: dict[str, np.ndarray]


@dataclass
class SelectionConfig:
    """A method of selection; see ``conf/selection/``.

    Attributes:
        scored_by: Who makes and scores its candidates: ``prior``, ``teacher``, or nobody ("").
        limit: False for a method that takes all images whatever the IPC.
    """

    name: str
    whole: float | None = execution(None)  # a method whose order depends on it says so in a field that it resolves
    mix_classes: bool = execution(False)

    scored_by: ClassVar[str] = ""
    limit: ClassVar[bool] = True

    @property
    def embeds(self) -> tuple[str, ...]:
        """What it reads of its candidates' embedding: some of :data:`ddselect.embed.table.FIELDS`."""
        return ()

    def __post_init__(self) -> None:
        if self.whole is not None and not 0 <= self.whole <= 1:
            raise UserError(f"selection.whole={self.whole}: a share from 0 to 1 is needed")

    def resolve(self, factor: int, whole: float, soft: bool) -> "SelectionConfig":
        """This method with what its settings leave open decided by what the run makes of it; most leave nothing open.

        Args:
            factor: Crops per side of a stitched image.
            whole: Share of the distilled images that are whole images.
            soft: Whether all protocols of the run have soft labels.
        """
        return self

    def rank(self, inputs: SelectionInputs) -> list[pa.Table]:
        """Ranks crops and whole images within every class: tables of :data:`ddselect.selection.table.SCHEMA`.

        Raises:
            UserError: The class only serves as a base.
            ValueError: The inputs lack what the method asks for.
        """
        raise UserError(f"selection {self.name}: class {type(self).__name__} ranks nothing")


@dataclass
class CandidateSelectionConfig(SelectionConfig):
    """A method that orders the scored crops and whole images of each class: by their scores, unless it says else."""

    def across_classes(self, embedding: EmbedTable, images: int, seed: int) -> Callable[[ClassCandidates], Order]:
        """What orders each class's candidates, for a method that looks at those of all classes first.

        Args:
            embedding: What was embedded of all candidates; methods that read none of it are not asked.
            images: Number of images that have candidates.
            seed: Seed of the selection.
        """
        return self.order

    def order(self, candidates: ClassCandidates) -> Order:
        """The order of a class's candidates of one kind."""
        return by_score(candidates.scores)

    def rank(self, inputs: SelectionInputs) -> list[pa.Table]:
        if inputs.scores is None:
            raise ValueError(f"the selection {self.name} needs scores")
        if self.embeds and inputs.embedding is None:
            raise ValueError(f"the selection {self.name} needs an embedding")
        table = read_scores(inputs.scores)
        index, crops = scored_images(inputs.index, table), crops_of(table)
        whole, image_scores = index.square_boxes(), table["image_score"].to_numpy().astype(np.float32)
        del table
        embedding = EmbedTable(inputs.embedding, crops.starts) if self.embeds and inputs.embedding else None
        order = self.across_classes(embedding, len(index), inputs.seed) if embedding else self.order

        def rank_class(label: int, rows: np.ndarray) -> list[pa.Table]:
            mine = np.concatenate([np.arange(crops.starts[row], crops.starts[row + 1]) for row in rows])
            fields = {field: embedding.read(rows, field) for field in self.embeds} if embedding else {}
            found = []
            for kind, candidates in (
                ("crop", Candidates(crops.rows[mine], crops.boxes[mine], crops.scores[mine])),
                ("image", Candidates(rows, whole[rows], image_scores[rows])),
            ):
                embedded = {field: values[kind] for field, values in fields.items()}
                picks, clusters = order(ClassCandidates(kind, label, inputs.seed, candidates.scores, embedded))
                found.append(ranked(candidates.take(picks), clusters, index, label, kind))
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


def by_score(scores: np.ndarray) -> Order:
    """Candidates by their scores (n,), the highest first; of equals the first one."""
    return unclustered(np.argsort(-scores, kind="stable"))
