"""Distilled sets as tensors: a ``.pt`` file of images and labels, of which nothing is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddselect.runtime.errors import UserError
from ddselect.selection.given import GivenSet

_ROUNDING = 0.01  # by how much values may leave [0, 1] unsaid
_CUT = 0.01  # share of the values that may be cut off unsaid
Statistics = tuple[list[float], list[float]]  # mean and standard deviation of each channel


def open_tensors(path: Path, statistics: Statistics | None, classes: int, who: str) -> GivenSet:
    """The set in a file, normalised by some statistics or not; ``who`` stands before what is wrong with it.

    Images (N, 3, S, S) are uint8, or floats in [0, 1] once the normalisation is undone; what is outside is cut off.
    Of soft labels (N, classes) the largest is the class. Of several sets, as some public code saves them, the first is
    taken.

    Raises:
        UserError: It holds anything but tensors in dicts, lists and tuples, no images and labels, or wrong ones.
    """
    who = f"{who}: {path.name}"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # it can be any file
        raise UserError(
            f"{who} is not of tensors in dicts, lists and tuples alone; save images and labels and nothing else: "
            "torch.save({'images': images, 'labels': labels}, path)"
        ) from None
    sets = list(_sets(content))
    if not sets:
        raise UserError(f"{who} has no images (N, 3, S, S) with as many labels (N,) or (N, {classes}) beside them")
    (images, told), odd = sets[0], list[str]()
    if len(sets) > 1:
        odd.append(f"{path.name} has {len(sets)} sets, of which the first is taken")
    labels, soft = _labels(told, classes, who)
    if soft:
        odd.append("its soft labels are not used: the largest is the class, and the protocol says who labels")
    odd += _check_values(images, statistics, who)
    order = np.argsort(labels, kind="stable")
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics or ([0.0], [1.0]))

    def read(number: int) -> Image.Image:
        image = images[order[number]]
        if image.is_floating_point():
            image = ((image.float() * std + mean).clamp(0, 1) * 255).round()
        return Image.fromarray(image.byte().permute(1, 2, 0).numpy())

    return GivenSet([f"{path.name}[{row}]" for row in order], labels[order], read, odd)


def _sets(content: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of images and labels that stand beside each other, however deep."""
    if isinstance(content, dict):
        content = list(content.values())
    if not isinstance(content, list | tuple):
        return
    tensors = [item for item in content if isinstance(item, Tensor)]
    for images in tensors:
        if images.ndim == 4 and images.shape[1] == 3:
            beside = [labels for labels in tensors if labels.ndim in (1, 2) and len(labels) == len(images)]
            yield from ((images, labels) for labels in beside[:1])
    for item in content:
        yield from _sets(item)


def _labels(told: Tensor, classes: int, who: str) -> tuple[np.ndarray, bool]:
    """Classes (N,) int64, and whether they were told as soft labels."""
    soft = False
    if told.ndim == 2:
        if told.shape[1] != classes:
            raise UserError(f"{who} has labels for {told.shape[1]} classes, the dataset has {classes}")
        soft, told = bool((told != torch.eye(classes)[told.argmax(1)]).any()), told.argmax(1)
    labels = told.long()
    if (labels != told).any():
        raise UserError(f"{who} has labels that are no whole numbers")
    if (found := sorted(set(labels.tolist()))) != list(range(classes)):
        raise UserError(
            f"{who} has labels from {found[0]} to {found[-1]}, {len(found)} different ones; all {classes} classes of "
            f"the dataset are needed, by position from 0 to {classes - 1}"
        )
    return labels.numpy(), soft


def _check_values(images: Tensor, statistics: Statistics | None, who: str) -> list[str]:
    """What to know of the images' values."""
    if not images.isfinite().all():
        raise UserError(f"{who} has values that are not finite")
    low, high = (float(value) for value in images.aminmax())
    if not images.is_floating_point():
        if low < 0 or high > 255:
            raise UserError(f"{who} has whole numbers from {low:.0f} to {high:.0f}; 0 to 255 are needed")
        return []
    if statistics is None:
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise UserError(
                f"{who} has values from {low:.2f} to {high:.2f}, not from 0 to 1: if they are normalised, say by what "
                "with normalisation=imagenet, cifar10, cifar100 or half beside its root; else save them as uint8"
            )
        return []
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    if low >= 0 and high <= 1:
        return ["its values lie from 0 to 1, as they do before a normalisation; the one named is undone all the same"]
    outside = (images < (-_ROUNDING - mean) / std) | (images > (1 + _ROUNDING - mean) / std)
    share = float(outside.float().mean())
    return [f"{share:.0%} of its values are outside 0 to 1 without normalisation, and cut off"] if share > _CUT else []
