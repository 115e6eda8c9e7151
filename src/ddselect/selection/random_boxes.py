"""Random boxes in images."""

import numpy as np

from ddselect.dataset.images import view_to_source
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError


def check_area(area: list[float]) -> None:
    """Refuses what is not two rising shares.

    Raises:
        UserError: It is something else.
    """
    if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
        raise UserError(f"selection.area={list(area)}: two rising shares within 0 and 1 are needed")


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
