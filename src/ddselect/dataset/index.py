"""The index of a dataset: one row per readable image, the table that all later stages refer to."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from ddselect.dataset.folders import Dataset, SourceFile
from ddselect.dataset.images import read_image
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json, write_json, write_table
from ddselect.runtime.progress import counting, note

VERSION = 2


@dataclass(frozen=True)
class Index:
    """The readable images of a dataset.

    Attributes:
        root: Folder that the paths are relative to.
        class_folders: Names of the class folders, in class order.
        class_names: Names of the classes, in class order.
        table: Columns id, path, split, label, width, height, bytes, hash; sorted by split, class and path. The id is
            the path, the hash (16 hexadecimal digits) that of the file's content.
    """

    root: Path
    class_folders: list[str]
    class_names: list[str]
    table: pa.Table

    def split(self, name: str) -> "Index":
        """The part of one split.

        Raises:
            UserError: The dataset has no such split.
        """
        rows = self.table.filter(pc.equal(self.table["split"], name))
        if not len(rows):
            raise UserError(f"the dataset has no {name} split; it has {sorted(set(self.table['split'].to_pylist()))}")
        return Index(self.root, self.class_folders, self.class_names, rows)

    def take(self, rows: np.ndarray) -> "Index":
        """The images at some (N,) rows, in their order."""
        return Index(self.root, self.class_folders, self.class_names, self.table.take(pa.array(rows)))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> list[str]:
        """Image ids."""
        return [str(i) for i in self.table["id"].to_pylist()]

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 class indices."""
        return self.table["label"].to_numpy().astype(np.int64)

    def sizes(self) -> np.ndarray:
        """(N, 2) int64 widths and heights in pixels."""
        return np.stack([self.table["width"].to_numpy(), self.table["height"].to_numpy()], 1).astype(np.int64)

    def square_boxes(self) -> np.ndarray:
        """(N, 4) int32 boxes of the images' square views in their pixels: x0, y0, x1, y1."""
        sizes = self.sizes()
        side = sizes.min(1, keepdims=True)
        corner = (sizes - side) // 2
        return np.concatenate([corner, corner + side], 1).astype(np.int32)

    def sizes_at(self, row: int) -> tuple[int, int]:
        """Width and height of one image in pixels."""
        return self.table["width"][row].as_py(), self.table["height"][row].as_py()

    def read(self, row: int, size: int) -> Tensor:
        """The square view of an image, (3, size, size) uint8."""
        return read_image(self.root / self.table["path"][row].as_py(), None, size)

    def read_all(self, size: int) -> Tensor:
        """The square views of all images, (N, 3, size, size) uint8: for splits that fit in memory."""
        paths = self.table["path"].to_pylist()
        return torch.stack([read_image(self.root / path, None, size) for path in paths])


def build_index(dataset: Dataset, folder: Path) -> dict[str, object]:
    """Reads every file once and writes ``images.parquet``, ``classes.json`` and, if any, ``unreadable.json``.

    Raises:
        UserError: Files are missing, a class is empty, or an image is unreadable and ``dataset.broken`` is ``error``.
    """
    root = dataset.provide(folder)
    files = dataset.files(root)
    folders = dataset.class_folders()
    labels = {name: label for label, name in enumerate(folders)}
    names = dataset.class_names(folders)
    rows: list[dict[str, object]] = []
    unreadable: list[dict[str, str]] = []
    with counting("index", len(files), "images") as counter:
        for file in files:
            row = _read_row(root, file, labels[file.folder])
            if isinstance(row, str):
                if dataset.broken == "error":
                    raise UserError(
                        f"{root / file.path}: unreadable image ({row}); repair or remove it, or set dataset.broken=skip"
                    )
                unreadable.append({"path": file.path, "error": row})
            else:
                rows.append(row)
            counter.advance()
    _check_classes(rows, folders, sorted({file.split for file in files}))
    (folder / "unreadable.json").unlink(missing_ok=True)
    if unreadable:
        note(f"  [yellow]{len(unreadable)} unreadable images skipped, listed in {folder / 'unreadable.json'}[/yellow]")
        write_json(folder / "unreadable.json", {"files": unreadable})
    table = pa.Table.from_pylist(rows)
    write_table(folder / "images.parquet", table)
    write_json(folder / "classes.json", {"root": str(root), "folders": folders, "names": names})
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(f"{row['id']} {row['split']} {row['label']} {row['hash']}\n".encode())
    counts = {split: int(pc.sum(pc.equal(table["split"], split)).as_py()) for split in sorted({f.split for f in files})}
    return {"digest": digest.hexdigest(), "images": counts, "classes": len(names), "unreadable": len(unreadable)}


def read_index(folder: Path) -> Index:
    """Reads a finished index."""
    classes = read_json(folder / "classes.json")
    return Index(Path(classes["root"]), classes["folders"], classes["names"], pq.read_table(folder / "images.parquet"))


def _read_row(root: Path, file: SourceFile, label: int) -> dict[str, object] | str:
    """The row of a file, or why it cannot be read."""
    try:
        data = (root / file.path).read_bytes()
        with Image.open(root / file.path) as image:
            width, height = image.size
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))  # JPEG: a coarse decode finds truncation too
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return " ".join(str(error).split())
    return {
        "id": file.path,
        "path": file.path,
        "split": file.split,
        "label": label,
        "width": width,
        "height": height,
        "bytes": len(data),
        "hash": hashlib.blake2b(data, digest_size=8).hexdigest(),
    }


def _check_classes(rows: list[dict[str, object]], folders: list[str], splits: Sequence[str]) -> None:
    """Refuses a class without a readable image."""
    present = {(row["split"], row["label"]) for row in rows}
    for split in splits:
        for label, folder in enumerate(folders):
            if (split, label) not in present:
                raise UserError(f"class '{folder}' has no readable {split} images")
