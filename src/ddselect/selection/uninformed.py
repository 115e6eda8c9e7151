"""Selections that look at nothing: random images and crops, and all images."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.runtime.seeds import numpy_generator
from ddselect.selection.base import SelectionConfig, SelectionInputs, rows_by_class, unclustered
from ddselect.selection.random_boxes import check_area, random_boxes
from ddselect.selection.table import Candidates, ranked


@dataclass
class RandomConfig(SelectionConfig):
    """Random images of a class, and random crops of random images."""

    area: list[float] = field(default_factory=lambda: [0.25, 0.25])

    def __post_init__(self) -> None:
        super().__post_init__()
        check_area(self.area)

    def rank(self, inputs: SelectionInputs) -> list[pa.Table]:
        index = inputs.index
        random = numpy_generator(inputs.seed, "random")
        zeros = np.zeros(len(index), np.float32)
        crops = Candidates(np.arange(len(index)), random_boxes(index, self.area, inputs.view, random), zeros)
        whole = Candidates(np.arange(len(index)), index.square_boxes(), zeros)
        tables = []
        for label, mine in enumerate(rows_by_class(index)):
            for kind, candidates in (("crop", crops), ("image", whole)):
                order, clusters = unclustered(random.permutation(mine))
                tables.append(ranked(candidates.take(order), clusters, index, label, kind))
        return tables


@dataclass
class AllImagesConfig(RandomConfig):
    """Every training image, whatever the IPC: the full-data reference."""

    limit: ClassVar[bool] = False
