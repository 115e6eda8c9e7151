"""Training images with their difference map, the box that was cut, and the patch that it became."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ddselect.dataset.images import source_to_view
from ddselect.dataset.index import Index
from ddselect.evaluation.localisation import smooth3, true_boxes
from ddselect.report.distilled import DistilledSet
from ddselect.report.pictures import Detail, inline, thumbnail, uri
from ddselect.scoring.maps import read_maps
from ddselect.scoring.table import read_scores

_RED, _BLUE = (178, 24, 43), (33, 102, 172)  # differ for colour-blind readers too
_SHADES = 12  # steps of a map's opacity: few, so that it takes few bytes
_COVER = 0.85  # the highest opacity
_CLIPPED = 0.01  # share of the positions beyond the ends of the colour scale
Rectangle = tuple[float, float, float, float]  # x, y, width, height in shares of the view's side


@dataclass(frozen=True)
class Example:
    """A training image."""

    path: str
    why: str
    facts: str
    image: str
    heat: str | None  # data URI of the map, to be laid over the view; None if the image was not scored
    box: Rectangle  # the box that was cut, or the best one of an image that was not selected
    truth: Rectangle | None
    patch: str | None  # data URI of the patch as it is in the distilled image; None of an image that was not selected


@dataclass(frozen=True)
class _Pick:
    """An image to show; ``entry`` and ``patch`` are lines of the metadata if it was selected."""

    source: str
    why: str
    facts: str
    box: Sequence[int]
    entry: dict[str, Any] | None = None
    patch: dict[str, Any] | None = None


class Examples:
    """The images that are shown of each class.

    First come the first crop and the first whole image of the chosen selection. They show it at its best, so ordinary
    images follow: those with the median and the lowest score of the class, whoever was selected.
    """

    def __init__(
        self,
        index: Index,
        folders: tuple[Path, Path] | None,
        prediction_shift_weight: float,
        chosen: DistilledSet | None,
        view: int,
        count: int,
    ) -> None:
        """Chooses the images and reads their maps.

        ``folders`` are those of boxes and scores, and of the finished scoring, if there are any; ``chosen`` is the
        distilled set of the selection that the run chose, if it has one; ``view`` the side in pixels of the square
        view, ``count`` the number of images of each class.
        """
        self.index, self.chosen, self.view = index, chosen, view
        self._table = read_scores(folders[0]) if folders and count else None
        self._picks = {label: self._pick(label)[:count] for label in range(len(index.class_names))} if count else {}
        wanted = list(dict.fromkeys(pick.source for picks in self._picks.values() for pick in picks))
        places = pc.index_in(pa.array(wanted, pa.string()), index.table["id"]).to_pylist()
        self._rows = dict(zip(wanted, places, strict=True))
        maps = read_maps(folders[1], wanted, prediction_shift_weight) if folders and wanted else {}
        self._maps = {image: smooth3(plane[None])[0] for image, plane in maps.items()}
        self.scale = _scale(self._maps)
        shown = index.take(np.array(places, dtype=np.int64))
        truth = true_boxes(shown) if wanted else None
        self._truth = {} if truth is None else dict(zip(wanted, truth, strict=True))

    @property
    def has_maps(self) -> bool:
        """Whether any image has a map."""
        return bool(self._maps)

    @property
    def has_truth(self) -> bool:
        """Whether the true boxes are known."""
        return bool(self._truth)

    def of(self, label: int, detail: Detail) -> list[Example]:
        """The images of a class."""
        return [self._example(pick, detail) for pick in self._picks.get(label, [])[: detail.examples]]

    def _pick(self, label: int) -> list[_Pick]:
        picks = []
        for entry, patch in self.chosen.first_patches(label) if self.chosen else []:
            what = "crop" if patch["kind"] == "crop" else "whole image"
            cluster = f", centre or cluster {patch['cluster']}" if patch["cluster"] >= 0 else ""
            facts = f"{patch['kind']} score {patch['score']:.2g}{cluster}"
            picks.append(_Pick(patch["source"], f"first {what}", facts, patch["box"], entry, patch))
        return picks + self._ordinary(label)

    def _ordinary(self, label: int) -> list[_Pick]:
        """The images with the median and the lowest score of a class."""
        if self._table is None:
            return []
        members = np.flatnonzero(self._table["label"].to_numpy() == label)
        scores = self._table["image_score"].to_numpy()[members]
        order = members[np.argsort(scores, kind="stable")]
        found = (
            {"median of the class": order[(len(order) - 1) // 2], "lowest of the class": order[0]} if len(order) else {}
        )
        rows = [(why, self._table.slice(int(row), 1).to_pylist()[0]) for why, row in found.items()]
        return [_Pick(row["id"], why, f"image score {row['image_score']:.2g}", row["boxes"][:4]) for why, row in rows]

    def _example(self, pick: _Pick, detail: Detail) -> Example:
        row = self._rows[pick.source]
        size = self.index.sizes_at(row)
        pixels = self.index.read(row, min(self.view, detail.side)).permute(1, 2, 0).numpy()
        truth = self._truth.get(pick.source)
        return Example(
            path=pick.source,
            why=pick.why,
            facts=pick.facts,
            image=inline(Image.fromarray(pixels), detail),
            heat=self._heat(pick.source, detail),
            box=_rectangle(np.array(pick.box, dtype=np.float64), size),
            truth=None if truth is None else _rectangle(truth, size),
            patch=self._patch(pick, detail),
        )

    def _heat(self, source: str, detail: Detail) -> str | None:
        if source not in self._maps:
            return None
        plane = self._maps[source] / self.scale
        side = min(plane.shape[0], max(8, detail.side // 3))
        smaller = Image.fromarray(plane.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
        return uri(Image.fromarray(heat_layer(np.asarray(smaller))), lossless=True)

    def _patch(self, pick: _Pick, detail: Detail) -> str | None:
        """The patch, cut from the distilled image that it is in."""
        if self.chosen is None or pick.entry is None or pick.patch is None:
            return None
        image = self.chosen.picture(pick.entry)
        if pick.patch["kind"] == "crop":
            row, column = pick.patch["cell"]
            side = image.width // self.chosen.factor
            image = image.crop((column * side, row * side, (column + 1) * side, (row + 1) * side))
        return inline(thumbnail(image, detail.side), detail)


def heat_layer(values: np.ndarray) -> np.ndarray:
    """(h, w) values, where the scale reaches from -1 to 1, as (h, w, 4) uint8: red above 0, blue below, clear at 0."""
    colour = np.where(values[..., None] > 0, _RED, _BLUE)
    opacity = np.round(np.abs(values.clip(-1, 1)) * _SHADES) / _SHADES * _COVER * 255
    return np.concatenate([colour, opacity.round()[..., None]], -1).astype(np.uint8)


def _scale(planes: dict[str, np.ndarray]) -> float:
    """The absolute value that all but a few positions stay below."""
    if not planes:
        return 1.0
    return float(np.quantile(np.abs(np.concatenate([plane.ravel() for plane in planes.values()])), 1 - _CLIPPED)) or 1.0


def _rectangle(box: np.ndarray, size: tuple[int, int]) -> Rectangle:
    """A box in the file's pixels as shares of the square view."""
    x0, y0, x1, y1 = source_to_view(box[None], *size, 1)[0].tolist()
    return round(x0, 4), round(y0, 4), round(x1 - x0, 4), round(y1 - y0, 4)
