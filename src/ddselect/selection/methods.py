"""The ``selection`` group: the method of the paper and its rivals, each a ranking of real patches and images."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.dataset.images import square_box, view_to_source
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.runtime.seeds import key64, numpy_generator
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.shards import read_scores
from ddselect.selection.ranking import nested_order
from ddselect.selection.table import Candidates, ranked
from ddselect.selection.teacher_view import Views, look
from ddselect.student.models import Classifier

VERSION = 2


@dataclass(frozen=True)
class Material:
    """What a method may look at.

    Attributes:
        index: The training images.
        view: Side in pixels of the square view that is composed and trained on.
        seed: Seed of everything random in the selection.
        teacher: Loads the teacher.
        scores: Folder of the finished scoring stage, if the method asked for it.
    """

    index: Index
    view: int
    seed: int
    teacher: Callable[[], Classifier]
    scores: Path | None

    def whole_boxes(self) -> np.ndarray:
        """(N, 4) boxes of the square views of all images."""
        return np.array([square_box(width, height) for width, height in self.index.sizes()], dtype=np.int32)


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

    def __post_init__(self) -> None:
        if not 0 <= self.whole <= 1:
            raise UserError(f"selection.whole={self.whole}: a share from 0 to 1 is needed")

    def rank(self, material: Material) -> list[pa.Table]:
        """Ranks crops and whole images within every class: tables of :data:`ddselect.selection.table.SCHEMA`."""
        raise UserError(f"selection {self.name}: class {type(self).__name__} ranks nothing")


def _by_class(index: Index) -> list[np.ndarray]:
    """Row numbers of each class."""
    return [np.flatnonzero(index.labels == label) for label in range(len(index.class_names))]


@dataclass
class DiffusionSelection(Selection):
    """Difference score, k-means within the class on teacher features, one member of each cluster.

    Attributes:
        keep: Share of a class's candidates that stay: those with the lowest scores go first.
        crop_pick: Which crop a cluster gives: ``best`` score, ``nearest`` to the centroid, or ``top``: by score alone,
            without clusters.
        image_pick: The same for whole images.
        depth: Number of candidates per class and kind ordered by clusters; the rest follows by score.
    """

    keep: float = 0.8
    crop_pick: str = "nearest"
    image_pick: str = "best"
    depth: int = 400

    needs_scores: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep <= 1:
            raise UserError(f"selection.keep={self.keep}: a share above 0, up to 1, is needed")
        for name in ("crop_pick", "image_pick"):
            if getattr(self, name) not in ("best", "nearest", "top"):
                raise UserError(f"selection.{name}={getattr(self, name)}: choose best, nearest or top")
        if self.depth < 1:
            raise UserError(f"selection.depth={self.depth}: at least 1 is needed")

    def rank(self, material: Material) -> list[pa.Table]:
        if material.scores is None:
            raise ValueError("the diffusion selection needs scores")
        scores = read_scores(material.scores)
        material = replace(material, index=scored_images(material.index, scores))
        counts = [len(s) for s in scores["scores"].to_pylist()]
        crops = Candidates(
            np.repeat(np.arange(len(scores)), counts),
            np.concatenate([np.array(b, dtype=np.int32).reshape(-1, 4) for b in scores["boxes"].to_pylist()]),
            np.concatenate([np.array(s, dtype=np.float32) for s in scores["scores"].to_pylist()]),
        )
        images = Candidates(
            np.arange(len(scores)), material.whole_boxes(), scores["image_score"].to_numpy().astype(np.float32)
        )
        index = material.index
        patch = max(1, round(float(np.median(crops.boxes[:, 2] - crops.boxes[:, 0])) * material.view / _side(index)))
        views = [Views(crops.rows, crops.boxes, patch), Views(images.rows, images.boxes, material.view)]
        of_crops, of_images = look(material.teacher(), index, views, "teacher features")
        tables = []
        for kind, candidates, pick, features in (
            ("crop", crops, self.crop_pick, of_crops.features),
            ("image", images, self.image_pick, of_images.features),
        ):
            labels = index.labels[candidates.rows]
            for label in range(len(index.class_names)):
                mine = np.flatnonzero(labels == label)
                mine = mine[np.argsort(-candidates.scores[mine], kind="stable")]
                kept = mine[: max(1, round(self.keep * len(mine)))]
                order, clusters = self._order(candidates.scores[kept], features[kept], pick, material.seed)
                late = np.full(len(mine) - len(kept), -1, dtype=np.int32)
                everything = np.concatenate([kept[order], mine[len(kept) :]])
                clusters = np.concatenate([clusters, late])
                tables.append(ranked(candidates.take(everything), clusters, index.ids, label, kind))
        return tables

    def _order(self, scores: np.ndarray, features: np.ndarray, pick: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if pick == "top":
            return np.arange(len(scores)), np.full(len(scores), -1, dtype=np.int32)
        return nested_order(scores, features, pick, self.depth, key64(seed, "k-means"))


def _side(index: Index) -> float:
    """Median side in pixels of the images' square views."""
    return float(np.median(index.sizes().min(1)))


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
        rows = np.arange(len(index))
        random = [numpy_generator(material.seed, "rded", number) for number in range(self.crops)]
        boxes = [random_boxes(index, self.area, material.view, generator) for generator in random]
        views = [Views(rows, b, size, padded_to) for b in boxes] + [Views(rows, material.whole_boxes(), material.view)]
        *of_crops, of_whole = look(material.teacher(), index, views, "teacher losses")
        losses = np.stack([seen.losses for seen in of_crops])
        best_crop = losses.argmin(0)
        best = Candidates(rows, np.stack(boxes)[best_crop, rows], -losses[best_crop, rows])
        whole = Candidates(rows, material.whole_boxes(), -of_whole.losses)
        tables = []
        for label, mine in enumerate(_by_class(index)):
            for kind, candidates in (("crop", best), ("image", whole)):
                order = mine[np.argsort(-candidates.scores[mine], kind="stable")]
                tables.append(ranked(candidates.take(order), np.full(len(order), -1), index.ids, label, kind))
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
        whole = Candidates(np.arange(len(index)), material.whole_boxes(), zeros)
        tables = []
        for label, mine in enumerate(_by_class(index)):
            for kind, candidates in (("crop", crops), ("image", whole)):
                order = random.permutation(mine)
                tables.append(ranked(candidates.take(order), np.full(len(order), -1), index.ids, label, kind))
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
