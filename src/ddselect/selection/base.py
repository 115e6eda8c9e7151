"""The ``selection`` group: what a method may look at, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.dataset.folders import DatasetConfig
from ddselect.dataset.index import Index
from ddselect.embed.table import EmbedTable
from ddselect.runtime.errors import UserError, shares
from ddselect.runtime.hardware import one_thread_each
from ddselect.runtime.progress import counting
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.store import execution
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection.table import Candidates, ranked

VERSION = 7  # numbers that decide an order are constants of this package: whoever changes one raises this
Order = tuple[np.ndarray, np.ndarray]  # (n,) candidates, best first, and (n,) the cluster of each, -1 for none


@dataclass(frozen=True)
class SelectionInputs:
    """What a method may look at.

    Attributes:
        scores: Folder of the candidates and their scores, by the prior or by the teacher as the method asked for; None
            if it asked for none.
        embedding: The shards of what was embedded of these candidates, if the method reads any of it.
        stages: Folders of the further stages that the method reads, by name.
    """

    index: Index  # the training images
    view: int  # side in pixels of the square view that is composed and trained on
    seed: int  # seed of everything random in the selection
    scores: Path | None = None
    embedding: ShardPlan | None = None
    ipc: int | None = None  # images per class that are wanted; read by methods alone that are not nested
    stages: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassCandidates:
    """The candidates of one class and kind, as a method orders them."""

    kind: str  # ``crop`` or ``image``
    label: int  # the class
    seed: int  # seed of the selection
    scores: np.ndarray  # (n,) float32, larger is better
    embedded: dict[str, np.ndarray]  # for each field that the method reads (``embeds``), (n, ...) float32


@dataclass
class SelectionConfig:
    """A method of selection; see ``conf/selection/``."""

    name: str
    whole: float | None = execution(None)  # a method whose order depends on it says so in a field that it resolves
    mix_classes: bool = execution(False)

    scored_by: ClassVar[str] = ""  # who makes and scores its candidates: ``prior``, ``teacher``, or nobody ("")
    limit: ClassVar[bool] = True  # false for a method that takes all images whatever the IPC
    ranks: ClassVar[bool] = True  # false for a distilled set that is given, of which nothing is to be selected
    nested: ClassVar[bool] = True  # false for a method whose order is made for one IPC, and serves no other
    reads: ClassVar[tuple[str, ...]] = ()  # names of further stages, such as those of a plug-in

    @property
    def embeds(self) -> tuple[str, ...]:
        """What it reads of its candidates' embedding: some of :data:`ddselect.embed.table.FIELDS`."""
        return ()

    def __post_init__(self) -> None:
        shares("selection", self, "whole")

    def resolve(self, factor: int, whole: float, soft: bool) -> "SelectionConfig":
        """This method with what its settings leave open decided by what the run makes of it; most leave nothing open.

        ``factor`` is the number of crops per side of a stitched image, ``whole`` the share of whole images; ``soft``
        says whether all protocols of the run have soft labels.
        """
        return self

    def share(self, factor: int, whole: float) -> float:
        """The share of whole images that it is composed with, where the run's composition has ``whole``, in most."""
        return whole

    def check(self, dataset: DatasetConfig) -> None:
        """Refuses a dataset that it does not fit, before any work; most fit all.

        Raises:
            UserError: It does not fit, or something is missing.
        """

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

        The embedding is that of all candidates, which are of so many images; methods that read none of it are not
        asked.
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

        return of_all_classes(self.name, index, rank_class)


def of_all_classes(name: str, index: Index, rank_class: Callable[[int, np.ndarray], list[pa.Table]]) -> list[pa.Table]:
    """What a method, called by its name, makes of each class and its rows in the index; some at the same time."""
    labels, by_class, parts = range(len(index.class_names)), list(rows_by_class(index)), list[pa.Table]()
    with counting(name, len(by_class), "classes") as counter, one_thread_each() as pool:
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
