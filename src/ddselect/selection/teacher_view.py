"""How a teacher sees candidates: features for clustering, and its loss on their class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ddselect.dataset.images import Box, cut_image, decode_image
from ddselect.dataset.index import Index
from ddselect.runtime.progress import counting
from ddselect.student.models import Classifier

_BATCH = 256


@dataclass(frozen=True)
class Views:
    """Parts of images, shown to a teacher at one size.

    Attributes:
        rows: (V,) row numbers in the index, in any order.
        boxes: (V, 4) boxes in the files' pixels.
        size: Side in pixels that boxes are resized to.
        padded_to: If above ``size``, the box is centred on black of this side, as the public RDED code does.
    """

    rows: np.ndarray
    boxes: np.ndarray
    size: int
    padded_to: int = 0


@dataclass(frozen=True)
class Seen:
    """What the teacher makes of views.

    Attributes:
        features: (V, D) float32 penultimate features.
        losses: (V,) float32 cross-entropies of the images' own labels.
    """

    features: np.ndarray
    losses: np.ndarray


@torch.inference_mode()
def look(teacher: Classifier, index: Index, groups: Sequence[Views], name: str) -> list[Seen]:
    """Shows groups of views to a teacher; each image is decoded once for all of them.

    Args:
        teacher: The teacher, in evaluation mode.
        index: The images.
        groups: What to show.
        name: Name for the progress display.
    """
    paths = [index.root / path for path in index.table["path"].to_pylist()]
    orders = [np.argsort(group.rows, kind="stable") for group in groups]
    seen: list[list[Seen]] = [[] for _ in groups]
    with counting(name, len(index), "images") as counter:
        for start in range(0, len(index), _BATCH):
            stop = min(start + _BATCH, len(index))
            parts = []
            for group, order in zip(groups, orders, strict=True):
                low, high = np.searchsorted(group.rows[order], (start, stop))
                parts.append(order[low:high])
            wanted = sorted({row for g, part in zip(groups, parts, strict=True) for row in g.rows[part].tolist()})
            images = {row: decode_image(paths[row]) for row in wanted}
            for group, part, found in zip(groups, parts, seen, strict=True):
                cuts = [cut_image(images[int(group.rows[v])], _box(group.boxes[v]), group.size) for v in part]
                if cuts:
                    found.append(_show(teacher, torch.stack(cuts), index.labels[group.rows[part]], group))
            counter.advance(stop - start)
    results = []
    for order, found in zip(orders, seen, strict=True):
        place = np.argsort(order, kind="stable")
        features, losses = np.concatenate([s.features for s in found]), np.concatenate([s.losses for s in found])
        results.append(Seen(features[place], losses[place]))
    return results


def _show(teacher: Classifier, views: torch.Tensor, labels: np.ndarray, group: Views) -> Seen:
    device = next(teacher.parameters()).device
    images = views.to(device).float() / 255
    if group.padded_to > group.size:
        left = (group.padded_to - group.size) // 2
        right = group.padded_to - group.size - left
        images = teacher.pad_black(images, (left, right, left, right))
    features = teacher.features(images)
    targets = torch.from_numpy(labels).to(device)
    losses = F.cross_entropy(teacher.head(features).float(), targets, reduction="none")
    return Seen(features.float().cpu().numpy(), losses.cpu().numpy())


def _box(box: np.ndarray) -> Box:
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0, y0, x1, y1
