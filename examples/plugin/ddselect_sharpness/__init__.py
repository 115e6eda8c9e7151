"""A plug-in of ddselect: a stage that measures how sharp every image is, and a selection that reads it."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.dataset.index import images_of
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial
from ddselect.selection.base import SelectionConfig, SelectionInputs, rows_by_class, unclustered
from ddselect.selection.table import Candidates, ranked


def measure(trial: Trial, folder: Path) -> Facts:
    """The stage: writes the mean squared step in brightness from pixel to pixel, (N,) float32 in index order."""
    grey = images_of(trial).read_all(trial.view).float().mean(1)
    sharpness = grey.diff(dim=1).square().mean((1, 2)) + grey.diff(dim=2).square().mean((1, 2))
    np.save(folder / "sharpness.npy", sharpness.numpy())
    return {"images": len(sharpness), "mean": float(sharpness.mean())}


STAGES = (
    Stage(
        name="sharpness",
        version=1,  # rises whenever the same settings give another result
        reads=("index", "pool?"),  # what it needs, which is all that decides its place
        key=lambda trial: {"view": trial.view},  # the settings that decide its result
        run="ddselect_sharpness:measure",
    ),
)


@dataclass
class SharpestConfig(SelectionConfig):
    """The selection: a dataclass with the keys of its YAML file."""

    blurred: bool = False
    reads: ClassVar[tuple[str, ...]] = ("sharpness",)

    def rank(self, inputs: SelectionInputs) -> list[pa.Table]:
        index, worth = inputs.index, np.load(inputs.stages["sharpness"] / "sharpness.npy")
        images = Candidates(np.arange(len(index)), index.square_boxes(), -worth if self.blurred else worth)
        tables = []
        for label, rows in enumerate(rows_by_class(index)):
            order, clusters = unclustered(rows[np.argsort(-images.scores[rows], kind="stable")])
            tables += [ranked(images.take(order), clusters, index, label, kind) for kind in ("crop", "image")]
        return tables
