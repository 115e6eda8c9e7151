"""A distilled set as it lies in its folder, read again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_text
from ddselect.runtime.rows import Rows, gathered

DISTILLED, METADATA = "distilled", "metadata.jsonl"


@dataclass(frozen=True)
class Distilled(Dataset[tuple[Tensor, int]]):
    """A distilled set: a torch dataset of (3, S, S) uint8 images with their classes.

    Attributes:
        metadata: One entry per image, as in ``metadata.jsonl``: its ``patches`` say where each part of it comes from.
    """

    images: Rows  # (N, 3, S, S) uint8
    labels: Tensor  # (N,) int64 classes of the folders that the images lie in
    parts: Tensor  # (N, P) int64 classes of P parts of equal area of each image; P is 1 unless classes are mixed
    stitched: Tensor  # (N,) bool, which images are stitched
    metadata: list[dict]  # type: ignore[type-arg]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.images[torch.tensor([number])][0], int(self.labels[number])


def read_metadata(folder: Path) -> list[dict[str, Any]]:
    """The lines of a finished composition's ``metadata.jsonl``."""
    return _lines(folder / DISTILLED)


def _lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_text(root / METADATA).splitlines()]


def read_distilled(folder: Path, work: Path | None = None) -> Distilled:
    """Reads the distilled set of a finished composition; see :func:`read_images`."""
    return read_images(folder / DISTILLED, work)


def read_images(root: Path, work: Path | None = None) -> Distilled:
    """Reads a distilled set, wherever its folder lies; one that is too large for the memory goes to a file in ``work``.

    Raises:
        UserError: The metadata names a file outside the folder.
    """
    metadata = _lines(root)
    images = gathered(_pixels(root, metadata), len(metadata), next(_pixels(root, metadata)).numel(), work)
    labels = torch.tensor([entry["label"] for entry in metadata], dtype=torch.int64)
    stitched = torch.tensor([entry["patches"][0]["kind"] == "crop" for entry in metadata])
    return Distilled(images, labels, _parts(metadata), stitched, metadata)


def _pixels(root: Path, metadata: list[dict[str, Any]]) -> Iterator[Tensor]:
    """The images (3, S, S) uint8, one by one."""
    for entry in metadata:
        if not (root / entry["file_name"]).resolve().is_relative_to(root.resolve()):
            raise UserError(f"{root / METADATA}: file_name '{entry['file_name']}' leads outside the folder")
        with Image.open(root / entry["file_name"]) as image:
            yield torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _parts(metadata: list[dict[str, Any]]) -> Tensor:
    """(N, P) classes of the parts of equal area of every image."""
    rows = [[class_of(patch, entry) for patch in entry["patches"]] for entry in metadata]
    places = max(map(len, rows)) if any(len(set(row)) > 1 for row in rows) else 1
    return torch.tensor([(row * places)[:places] for row in rows], dtype=torch.int64)


def class_of(patch: Mapping[str, Any], entry: Mapping[str, Any]) -> int:
    """The class of a patch of an image of the metadata: its own where classes are mixed, or the image's."""
    return patch.get("label", entry["label"])
