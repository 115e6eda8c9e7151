"""Writes drawn scenes as class folders of PNG files, with the true boxes beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from PIL import Image

from ddselect.dataset.scenes import Scenes
from ddselect.runtime.files import write_table

BOXES = "true_boxes.parquet"
_SEEDS = {"train": 1, "val": 3, "test": 2}


def write_scenes(
    root: Path,
    classes: Sequence[str],
    sizes: dict[str, int],
    seed: int,
    draw: Callable[[int, int, str], Scenes],
) -> None:
    """Writes ``<root>/<split>/<class>/<number>.png`` and ``<root>/true_boxes.parquet`` (path, x0, y0, x1, y1).

    The boxes are for measuring a localisation only. A folder that is complete is left as it is.

    Args:
        root: Where to write.
        classes: Names of the classes, in the order of the labels.
        sizes: Number of scenes of each split.
        seed: Seed of the dataset.
        draw: Draws (count, seed, split) scenes.
    """
    if (root / BOXES).exists():
        return
    paths, boxes = [], []
    for split, size in sizes.items():
        for name in classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        scenes = draw(size, _SEEDS[split] + 1000 * seed, split)
        for number, (image, label, box) in enumerate(zip(scenes.images, scenes.labels, scenes.boxes, strict=True)):
            path = f"{split}/{classes[label]}/{number:05d}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / path, compress_level=1)
            paths.append(path)
            boxes.append(box.tolist())
    columns = {name: [box[i] for box in boxes] for i, name in enumerate(("x0", "y0", "x1", "y1"))}
    write_table(root / BOXES, pa.table({"path": paths, **columns}))
