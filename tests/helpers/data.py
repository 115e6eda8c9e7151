"""Small image datasets on disk, made in milliseconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from ddselect.dataset.folders import ClutteredDigitsConfig, ImageFolderConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.runtime.files import write_table
from ddselect.scoring import maps, table
from ddselect.student.validation import TestSet

CLASSES = ("ant", "bee", "cow")


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth random colours: every box of it differs from every other, and JPEG keeps it roughly."""
    random = np.random.default_rng(seed)
    colours = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    rgb = colours.resize((width, height), Image.Resampling.BICUBIC)
    if mode == "RGBA":
        rgb.putalpha(Image.fromarray(random.integers(0, 256, (height, width), dtype=np.uint8)))
        return rgb
    return rgb.quantize(16) if mode == "P" else rgb.convert(mode)


def write_folder(
    root: Path,
    splits: Sequence[str] = ("train", "val"),
    classes: Sequence[str] = CLASSES,
    per_class: int = 4,
    sizes: Sequence[tuple[int, int]] = ((32, 32), (40, 28), (25, 36)),
    kinds: Sequence[tuple[str, str]] = ((".png", "RGB"), (".jpg", "RGB")),
) -> Path:
    """Writes ``<root>/<split>/<class>/<number><suffix>``, going round the sizes and the (suffix, mode) kinds.

    A split called "" puts the class folders into the root itself.
    """
    number = 0
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(per_class):
                suffix, mode = kinds[number % len(kinds)]
                image = picture(*sizes[number % len(sizes)], mode, seed=number)
                image.save(folder / f"{number:03d}{suffix}")
                number += 1
    return root


def folder_dataset(root: Path, **options: object) -> ImageFolderConfig:
    """An ``imagefolder`` dataset of 16-pixel views."""
    return ImageFolderConfig(**{"name": "folder", "image_size": 16, "root": str(root), **options})  # type: ignore[arg-type]


def folder_index(root: Path, work: Path, **options: object) -> Index:
    """The whole index of a folder of images; ``work`` takes the index's files."""
    build_index(folder_dataset(root, **options), work)
    return read_index(work, root)


def scene_index(work: Path, train: int = 60, val: int = 10, test: int = 20) -> Index:
    """The whole index of a small embedded dataset."""
    build_index(ClutteredDigitsConfig("digits", 32, sizes={"train": train, "val": val, "test": test}), work)
    return read_index(work, Path())


def images_to_test(index: Index, size: int, batch_size: int = 500) -> TestSet:
    """The square views of all images of an index, to test on."""
    return TestSet(index.read_all(size), torch.from_numpy(index.labels), len(index.class_names), batch_size)


def nothing_to_test(classes: int = 2) -> TestSet:
    """No images, for a training that is not tested."""
    return TestSet(torch.zeros(0, 3, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), classes)


def write_scored(folder: Path, rows: list[dict[str, object]]) -> tuple[Path, Path]:
    """Folders of finished boxes and of a finished scoring, with rows that have the columns of both."""
    write_table(folder / "boxes" / table.MERGED, pa.Table.from_pylist(rows, schema=table.SCHEMA))
    plan = maps.map_shards(folder / "scoring", len(rows), 5)
    for shard in range(len(plan)):
        maps.write_rows(plan.path(shard), [rows[row] for row in plan.range(shard)])
    return folder / "boxes", folder / "scoring"
