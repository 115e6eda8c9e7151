"""A teacher's loss on parts of images: what RDED ranks by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from ddselect.dataset.index import Index
from ddselect.features.cuts import Boxes, Cuts, as_batch
from ddselect.runtime.progress import counting
from ddselect.student.models import Classifier

_BATCH = 256


@dataclass(frozen=True)
class Views:
    """One part of each image, shown to a teacher at one size.

    Attributes:
        boxes: (N, 4) boxes in the files' pixels.
        size: Side in pixels that boxes are resized to.
        padded_to: If above ``size``, the box is centred on black of this side, as the public RDED code does.
    """

    boxes: np.ndarray
    size: int
    padded_to: int = 0


@torch.inference_mode()
def teacher_losses(teacher: Classifier, index: Index, groups: Sequence[Views]) -> list[np.ndarray]:
    """Cross-entropies (N,) float32 of the images' own labels, for each group; each image is decoded once for all.

    Args:
        teacher: The teacher, in evaluation mode.
        index: The images.
        groups: What to show.
    """
    device, labels = next(teacher.parameters()).device, torch.from_numpy(index.labels)
    cuts = Cuts(index, [Boxes(np.arange(len(index) + 1), group.boxes, group.size) for group in groups])
    losses: list[list[np.ndarray]] = [[] for _ in groups]
    done = 0
    with counting("teacher losses", len(index), "images") as counter:
        for batch in DataLoader(cuts, _BATCH, collate_fn=as_batch):
            count = len(batch.counts[0])
            targets = labels[done : done + count].to(device)
            for group, views, found in zip(groups, batch.cuts, losses, strict=True):
                images = views.to(device).float() / 255
                if group.padded_to > group.size:
                    left = (group.padded_to - group.size) // 2
                    right = group.padded_to - group.size - left
                    images = teacher.pad_black(images, (left, right, left, right))
                found.append(F.cross_entropy(teacher(images).float(), targets, reduction="none").cpu().numpy())
            done += count
            counter.advance(count)
    return [np.concatenate(found) for found in losses]
