"""The distilled images of each selection as a sheet for each class, with where every patch comes from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ddselect.composition.distilled import DISTILLED, class_of, read_metadata
from ddselect.report.pictures import COLUMNS, Detail, inline, sheet, thumbnail
from ddselect.runtime.trial import Trial


@dataclass(frozen=True)
class Sheet:
    """The distilled images of one selection and class.

    Attributes:
        origins: The patches of the images shown, each with the number of its image, from 1.
    """

    selection: str
    picture: str  # data URI of all images shown
    width: int
    height: int
    columns: int
    shown: int
    of: int  # images that there are
    given: bool  # whether others made them, from images that are not known
    patches: list[dict[str, Any]] = field(repr=False)  # all of theirs, as lines of the metadata
    origins: list[tuple[int, dict[str, Any]]]


class DistilledSet:
    """A finished composition."""

    def __init__(self, trial: Trial) -> None:
        """The composition of a selection and seed."""
        self.selection, self.seed = trial.method.selection.name, trial.seed
        self.given = not trial.method.selection.ranks
        self.factor = trial.method.composition.factor
        self.root = trial.stages["composition"].folder / DISTILLED
        self.entries: dict[int, list[dict[str, Any]]] = defaultdict(list)  # by class of the folder
        self.patches: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)  # by their own class
        for entry in read_metadata(trial.stages["composition"].folder):
            self.entries[entry["label"]].append(entry)
            for patch in entry["patches"]:
                self.patches[class_of(patch, entry)].append((entry, patch))

    def sheet(self, label: int, detail: Detail) -> Sheet:
        """The images of a class."""
        everything = self.entries[label]
        entries, told = everything[: detail.images], detail.origins and not self.given
        picture = sheet([thumbnail(self.picture(entry), detail.side) for entry in entries])
        return Sheet(
            selection=self.selection,
            picture=inline(picture, detail),
            width=picture.width,
            height=picture.height,
            columns=min(COLUMNS, len(entries)),
            shown=len(entries),
            of=len(everything),
            given=self.given,
            patches=[patch for entry in everything for patch in entry["patches"]],
            origins=[(i, p) for i, e in enumerate(entries, 1) for p in e["patches"]] if told else [],
        )

    def picture(self, entry: dict[str, Any]) -> Image.Image:
        """The distilled image of a line of the metadata."""
        path: Path = self.root / entry["file_name"]
        with Image.open(path) as image:
            return image.convert("RGB")

    def first_patches(self, label: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The first crop and the first whole image in the selection's order, each with the image that it is in."""
        found = {}
        for kind in ("crop", "image"):
            ranked = [pair for pair in self.patches[label] if pair[1]["kind"] == kind]
            if ranked:
                found[kind] = min(ranked, key=lambda pair: pair[1]["rank"])
        return list(found.values())


def distilled_sets(trained: Sequence[Trial]) -> list[DistilledSet]:
    """Those of the first seed of every selection, without those that take all images."""
    firsts: dict[str, Trial] = {}
    for trial in trained:
        if trial.method.selection.limit:
            firsts.setdefault(trial.method.selection.name, trial)
    return [DistilledSet(trial) for trial in firsts.values()]
