"""How a teacher sees candidates: features for clustering, and its loss on their class."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.dataset.images import Box, read_image
from ddselect.dataset.index import Index
from ddselect.runtime.progress import counting
from ddselect.student.models import Classifier

_BATCH = 256


@torch.inference_mode()
def look(
    teacher: Classifier,
    index: Index,
    rows: np.ndarray,
    boxes: np.ndarray,
    size: int,
    padded_to: int = 0,
    name: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Shows candidates to a teacher.

    Args:
        teacher: The teacher, in evaluation mode.
        index: The images.
        rows: (N,) row numbers in the index.
        boxes: (N, 4) boxes in the files' pixels.
        size: Side in pixels that boxes are resized to.
        padded_to: If above ``size``, the box is centred on black of this side, as the public RDED code does.
        name: Name for the progress display.

    Returns:
        (N, D) float32 features and (N,) float32 cross-entropies of the images' own labels.
    """
    device = next(teacher.parameters()).device
    paths: list[Path] = [index.root / path for path in index.table["path"].to_pylist()]
    labels = torch.from_numpy(index.labels)
    features: list[Tensor] = []
    losses: list[Tensor] = []
    with counting(name or "features", len(rows), "boxes") as counter:
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            crops = [read_image(paths[row], _box(box), size) for row, box in zip(rows[part], boxes[part], strict=True)]
            images = torch.stack(crops).to(device).float() / 255
            if padded_to > size:
                left = (padded_to - size) // 2
                right = padded_to - size - left
                images = teacher.pad_black(images, (left, right, left, right))
            seen = teacher.features(images)
            features.append(seen.float().cpu())
            targets = labels[rows[part]].to(device)
            losses.append(F.cross_entropy(teacher.head(seen).float(), targets, reduction="none").cpu())
            counter.advance(len(crops))
    return torch.cat(features).numpy(), torch.cat(losses).numpy()


def _box(box: np.ndarray) -> Box:
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0, y0, x1, y1
