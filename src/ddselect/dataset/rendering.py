"""Writes the embedded dataset as class folders of PNG files, with the true boxes beside them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from PIL import Image

from ddselect.dataset.scenes import CLASS_NAMES, SceneStyle, render
from ddselect.runtime.files import write_table

BOXES = "true_boxes.parquet"
_SEEDS = {"train": 1, "val": 3, "test": 2}


def write_scenes(root: Path, sizes: dict[str, int], seed: int, fragments: Sequence[int], bright: bool) -> None:
    """Writes ``<root>/<split>/<class>/<number>.png`` and ``<root>/true_boxes.parquet`` (path, x0, y0, x1, y1).

    Training and validation scenes show the training writers' digits, test scenes the other writers'. The boxes are for
    measuring a localisation only. ``seed``, ``fragments`` and ``bright`` are those of the dataset. A folder that
    is complete is left as it is.
    """
    if (root / BOXES).exists():
        return
    paths, boxes = [], []
    for split, size in sizes.items():
        for name in CLASS_NAMES:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        parts = [
            render(
                len(range(i, size, len(fragments))),
                _SEEDS[split] + 1000 * seed + 10 * i,
                train=split != "test",
                style=SceneStyle(fragments=count, bright=bright),
            )
            for i, count in enumerate(fragments)
        ]
        drawn = (scene for s in parts for scene in zip(s.images, s.labels, s.boxes, strict=True))
        for number, (image, label, box) in enumerate(drawn):
            path = f"{split}/{CLASS_NAMES[label]}/{number:05d}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / path, compress_level=1)
            paths.append(path)
            boxes.append(box.tolist())
    columns = {name: [box[i] for box in boxes] for i, name in enumerate(("x0", "y0", "x1", "y1"))}
    write_table(root / BOXES, pa.table({"path": paths, **columns}))
