"""The boxes stage: boxes of several sizes from the maps that scoring kept, without the network."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.images import view_to_source
from ddselect.dataset.index import Index
from ddselect.runtime.files import write_table
from ddselect.runtime.progress import counting
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.scorer import Boxes, best_boxes, window
from ddselect.scoring.table import MERGED, read_planes, read_scores


def search_boxes(index: Index, scores: Path, search: BoxesConfig, folder: Path) -> dict[str, object]:
    """Writes the score table of a finished scoring with other boxes in place of its own; images' scores stay.

    The score of a box is its mean difference, S(box | y) of METHOD, times its side (as a share of the view's) to the
    power 2 - 2 ``exponent``: in proportion to what boxes of different sizes compete by when they are placed.

    Args:
        index: The images that were to be scored.
        scores: Folder of the scoring stage.
        search: Sizes, number and overlap of the boxes.
        folder: Where the table goes.

    Raises:
        UserError: The scoring kept no difference maps.
    """
    table = read_scores(scores)
    index = scored_images(index, table)
    boxes: list[list[int]] = []
    values: list[list[float]] = []
    with counting("boxes", len(index), "images") as counter:
        for place, difference in read_planes(scores):
            found, worth = _best(torch.from_numpy(place), torch.from_numpy(difference), search)
            corners = torch.cat([found.corner, found.corner + found.side[..., None]], -1).numpy()
            for number, exists in enumerate(found.exists.numpy()):
                size = index.sizes_at(len(boxes))
                boxes.append(view_to_source(corners[number][exists], *size, place.shape[-1]).ravel().tolist())
                values.append(worth[number][exists].tolist())
            counter.advance(len(place))
    columns = {
        "boxes": pa.array(boxes, pa.list_(pa.int32())),
        "scores": pa.array(values, pa.list_(pa.float32())),
    }
    write_table(folder / MERGED, pa.table({**{n: table[n] for n in ("id", "label", "image_score")}, **columns}))
    return {"images": len(index), "boxes": sum(map(len, values))}


def _best(place: Tensor, difference: Tensor, search: BoxesConfig) -> tuple[Boxes, np.ndarray]:
    """The boxes of some images (N, h, w), and their scores (N, K)."""
    side = place.shape[-1]
    power = 2 - 2 * search.exponent
    lengths = sorted({max(1, round(size * side)) for size in search.sizes})
    windows = [(length / side) ** power * window(length, search.sigma * length or None) for length in lengths]
    boxes = best_boxes(place, windows, search.per_image, search.overlap)
    return boxes, (boxes.mean(difference) * (boxes.side / side) ** power).numpy()
