"""The ``selection`` group: the method of the paper and its rivals, each a ranking of real patches and images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.dataset.images import view_to_source
from ddselect.dataset.index import Index
from ddselect.features.table import FeatureTable
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import one_thread_each
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64, numpy_generator
from ddselect.runtime.shards import ShardPlan
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection.ranking import embedding, nested_order
from ddselect.selection.table import Candidates, ranked
from ddselect.selection.teacher_losses import Views, teacher_losses
from ddselect.student.models import Classifier

VERSION = 3


@dataclass(frozen=True)
class Material:
    """What a method may look at.

    Attributes:
        index: The training images.
        view: Side in pixels of the square view that is composed and trained on.
        seed: Seed of everything random in the selection.
        teacher: Loads the teacher.
        scores: Folder of the finished scoring stage, if the method asked for it.
        features: The shards of the scored candidates' features, if the method asked for them.
    """

    index: Index
    view: int
    seed: int
    teacher: Callable[[], Classifier]
    scores: Path | None
    features: ShardPlan | None = None


@dataclass
class Selection:
    """A method of selection; see ``conf/selection/``.

    Attributes:
        name: Name in results and reports.
        whole: Share of the distilled images that are whole images rather than stitched crops: what
            ``composition.whole`` is unless it is set.
        limit: False for a method that takes all images whatever the IPC.
    """

    name: str
    whole: float

    needs_scores: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    limit: ClassVar[bool] = True

    @property
    def needs_features(self) -> bool:
        """Whether it looks at features of the scored candidates."""
        return False

    def __post_init__(self) -> None:
        if not 0 <= self.whole <= 1:
            raise UserError(f"selection.whole={self.whole}: a share from 0 to 1 is needed")

    def rank(self, material: Material) -> list[pa.Table]:
        """Ranks crops and whole images within every class: tables of :data:`ddselect.selection.table.SCHEMA`."""
        raise UserError(f"selection {self.name}: class {type(self).__name__} ranks nothing")


def _by_class(index: Index) -> list[np.ndarray]:
    """Row numbers of each class, rising."""
    order = np.argsort(index.labels, kind="stable")
    return np.split(order, np.searchsorted(index.labels[order], np.arange(1, len(index.class_names))))


@dataclass
class DiffusionSelection(Selection):
    """Difference score, k-means within the class on features, one member of each cluster.

    Attributes:
        keep: Share of a class's candidates that stay: those with the lowest scores go first.
        crop_pick: Which crop a cluster gives: ``best`` score, ``nearest`` to the centroid, or ``top``: by score alone,
            without clusters.
        image_pick: The same for whole images.
        components: Principal components of the features that are clustered, where there are more; 0 for all.
        depth: Number of candidates per class and kind ordered by clusters; the rest follows by score.
    """

    keep: float = 0.8
    crop_pick: str = "nearest"
    image_pick: str = "best"
    components: int = 64
    depth: int = 400

    needs_scores: ClassVar[bool] = True

    @property
    def needs_features(self) -> bool:
        return {self.crop_pick, self.image_pick} != {"top"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep <= 1:
            raise UserError(f"selection.keep={self.keep}: a share above 0, up to 1, is needed")
        for name in ("crop_pick", "image_pick"):
            if getattr(self, name) not in ("best", "nearest", "top"):
                raise UserError(f"selection.{name}={getattr(self, name)}: choose best, nearest or top")
        for name, least in (("components", 0), ("depth", 1)):
            if getattr(self, name) < least:
                raise UserError(f"selection.{name}={getattr(self, name)}: at least {least} is needed")

    def rank(self, material: Material) -> list[pa.Table]:
        if material.scores is None:
            raise ValueError("the diffusion selection needs scores")
        table = read_scores(material.scores)
        index, crops = scored_images(material.index, table), crops_of(table)
        features = None
        if self.needs_features:
            if material.features is None:
                raise ValueError("clusters need features")
            features = FeatureTable(material.features, crops.starts)
        whole, image_scores = index.square_boxes(), table["image_score"].to_numpy().astype(np.float32)
        del table

        def rank_class(rows: np.ndarray, label: int) -> list[pa.Table]:
            mine = np.concatenate([np.arange(crops.starts[row], crops.starts[row + 1]) for row in rows])
            embedded = features.read(rows) if features else {}
            found = []
            for kind, candidates, pick in (
                ("crop", Candidates(crops.rows[mine], crops.boxes[mine], crops.scores[mine]), self.crop_pick),
                ("image", Candidates(rows, whole[rows], image_scores[rows]), self.image_pick),
            ):
                order, clusters = self._order(candidates.scores, embedded.get(kind), pick, material.seed)
                found.append(ranked(candidates.take(order), clusters, index, label, kind))
            return found

        by_class, parts = _by_class(index), []
        with counting("clusters", len(by_class), "classes") as counter, one_thread_each() as pool:
            for part in pool.map(rank_class, by_class, range(len(by_class))):
                parts += part
                counter.advance()
        return parts

    def _order(
        self, scores: np.ndarray, features: np.ndarray | None, pick: str, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Order (n,) of candidates and the cluster of each in it: those that stay, then the others by score."""
        by_score = np.argsort(-scores, kind="stable")
        none = np.full(len(scores), -1, dtype=np.int32)
        if pick == "top" or features is None:
            return by_score, none
        kept = by_score[: max(1, round(self.keep * len(scores)))]
        key = key64(seed, "k-means")
        points = embedding(features[kept], self.components, key)
        order, clusters = nested_order(scores[kept], points, pick, self.depth, key)
        return np.concatenate([kept[order], by_score[len(kept) :]]), np.concatenate([clusters, none[len(kept) :]])


@dataclass
class RDEDSelection(Selection):
    """RDED (Sun et al., CVPR 2024): of some random crops of each image the one with the lowest teacher loss.

    Whole images are ranked by the teacher's loss on them.

    Attributes:
        crops: Random crops per image.
        size: Side of the result as a share of the view: crops are resized to it.
        area: Smallest and largest area of a crop as shares of the view; equal to fix the size.
        padded: Whether the teacher sees a crop centred on black in a full-size image, as in the public code.
    """

    crops: int = 5
    size: float = 0.5
    area: list[float] = field(default_factory=lambda: [0.25, 0.25])
    padded: bool = False

    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crops < 1:
            raise UserError(f"selection.crops={self.crops}: at least 1 is needed")
        if not 0 < self.size <= 1:
            raise UserError(f"selection.size={self.size}: a share above 0, up to 1, is needed")
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise UserError(f"selection.area={list(self.area)}: two rising shares within 0 and 1 are needed")

    def rank(self, material: Material) -> list[pa.Table]:
        index = material.index
        size = max(1, round(self.size * material.view))
        padded_to = material.view if self.padded else 0
        rows, whole_boxes = np.arange(len(index)), index.square_boxes()
        random = [numpy_generator(material.seed, "rded", number) for number in range(self.crops)]
        boxes = [random_boxes(index, self.area, material.view, generator) for generator in random]
        views = [*(Views(b, size, padded_to) for b in boxes), Views(whole_boxes, material.view)]
        *of_crops, of_whole = teacher_losses(material.teacher(), index, views)
        losses = np.stack(of_crops)
        best_crop = losses.argmin(0)
        best = Candidates(rows, np.stack(boxes)[best_crop, rows], -losses[best_crop, rows])
        whole = Candidates(rows, whole_boxes, -of_whole)
        tables = []
        for label, mine in enumerate(_by_class(index)):
            for kind, candidates in (("crop", best), ("image", whole)):
                order = mine[np.argsort(-candidates.scores[mine], kind="stable")]
                tables.append(ranked(candidates.take(order), np.full(len(order), -1), index, label, kind))
        return tables


@dataclass
class RandomSelection(Selection):
    """Random images of a class, and random crops of random images.

    Attributes:
        area: Smallest and largest area of a crop as shares of the view.
    """

    area: list[float] = field(default_factory=lambda: [0.25, 0.25])

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise UserError(f"selection.area={list(self.area)}: two rising shares within 0 and 1 are needed")

    def rank(self, material: Material) -> list[pa.Table]:
        index = material.index
        random = numpy_generator(material.seed, "random")
        zeros = np.zeros(len(index), np.float32)
        crops = Candidates(np.arange(len(index)), random_boxes(index, self.area, material.view, random), zeros)
        whole = Candidates(np.arange(len(index)), index.square_boxes(), zeros)
        tables = []
        for label, mine in enumerate(_by_class(index)):
            for kind, candidates in (("crop", crops), ("image", whole)):
                order = random.permutation(mine)
                tables.append(ranked(candidates.take(order), np.full(len(order), -1), index, label, kind))
        return tables


@dataclass
class AllImages(RandomSelection):
    """Every training image, whatever the IPC: the full-data reference."""

    limit: ClassVar[bool] = False


def random_boxes(index: Index, area: list[float], view: int, random: np.random.Generator) -> np.ndarray:
    """One random square box in the view of each image: (N, 4) int32 in the files' pixels.

    The area is uniform between two shares of the view's, the place uniform among whole pixels of the view.
    """
    share = random.uniform(area[0], area[1], len(index)) if area[1] > area[0] else np.full(len(index), area[0])
    sides = np.clip(np.rint(np.sqrt(share) * view), 1, view).astype(np.int64)
    corners = random.integers(0, view - sides[:, None] + 1, size=(len(index), 2))
    boxes = np.concatenate([corners, corners + sides[:, None]], 1)
    sizes = index.sizes()
    return np.stack(
        [view_to_source(box[None], int(size[0]), int(size[1]), view)[0] for box, size in zip(boxes, sizes, strict=True)]
    )
