"""The index of a dataset: one row per readable image, the table that all later stages refer to."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from ddselect.dataset import images
from ddselect.dataset.folders import DatasetConfig
from ddselect.dataset.images import Box, Source, decode_image, read_image
from ddselect.dataset.layout import remarks
from ddselect.dataset.survey import TABLE, forget_parts, survey
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json, write_json, write_table
from ddselect.runtime.integrity import sealed
from ddselect.runtime.rows import Rows, gathered
from ddselect.runtime.trial import Facts, Trial

VERSION = 5
CLASSES = "classes.json"
OWN = "./"  # before the path of an image that lies in the folder of the index while the others do not
_KINDS = 8  # of files that are left out, named in a line
COLUMNS = (
    "id", "path", "split", "label", "width", "height", "orientation", "bytes", "hash", "mtime", "offset",
)  # fmt: skip


@dataclass(frozen=True)
class Index:
    """The readable images of a dataset.

    On disk no path is absolute: images that lie in the store are found from the index's folder, the others from the
    dataset's root, wherever these are now.

    Attributes:
        table: Columns id, path, split, label, width, height, orientation, bytes, hash, mtime, offset; sorted by split,
            class and path. Width and height are those of the upright image, orientation is EXIF's that makes it so
            (1 to 8). The id is the path, the hash (16 hexadecimal digits) that of the content, mtime the time of change
            in nanoseconds. Of an image in an archive the path is the archive's, the id goes on with its name there,
            and its bytes begin at offset, which is -1 for a file.
    """

    root: Path  # folder that the paths are relative to; those of a mixed pool's own images are absolute
    class_folders: list[str]  # names of the class folders, in class order
    class_names: list[str]  # names of the classes, in class order
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

    def source(self, row: int) -> Source:
        """Where the bytes of an image lie."""
        image, path, offset, size = (self.table[name][row].as_py() for name in ("id", "path", "offset", "bytes"))
        return Source(self.root / path, offset, size, "" if offset < 0 else image[len(path) + 1 :])

    def decode(self, row: int) -> Image.Image:
        """All pixels of an image, for cutting boxes."""
        return decode_image(self.source(row))

    def read(self, row: int, size: int, box: Box | None = None) -> Tensor:
        """A box of an image, or its square view, for looking at: (3, size, size) uint8."""
        return read_image(self.source(row), box, size)

    def read_all(self, size: int, work: Path | None = None) -> Rows:
        """The square views of all images, (N, 3, size, size) uint8; in a file in ``work`` if they are many."""
        views = (self.read(row, size) for row in range(len(self)))
        return gathered(views, len(self), 3 * size**2, work)


def run(trial: Trial, folder: Path) -> Facts:
    """The index stage."""
    trial.experiment.trainer.check_devices()  # after the look for the images, before the work of reading them
    return build_index(trial.experiment.dataset, folder)


def build_index(dataset: DatasetConfig, folder: Path) -> dict[str, object]:
    """Reads every file that is new and writes ``images.parquet``, ``classes.json`` and, if any, ``unreadable.json``.

    Raises:
        UserError: Files are missing, a class is empty, or an image is unreadable and ``dataset.broken`` is ``error``,
            or more are than ``dataset.broken_ceiling`` allows.
    """
    root, left_out = dataset.provide(folder), Counter[str]()
    files = dataset.files(root, left_out)
    folders = dataset.class_folders()
    names = dataset.class_names(folders)
    splits = sorted({file.split for file in files})
    looked = survey(root, files, folder, dataset.broken_ceiling if dataset.broken == "skip" else None)
    found, rows = looked.table, looked.rows
    left_out += looked.left_out  # drops what there is none of
    numbers = {name: label for label, name in enumerate(folders)}
    labels = np.fromiter((numbers[file.folder] for file in files), np.int32, len(files))[rows]
    columns = {name: found[name] for name in found.column_names}
    columns |= {
        "path": pa.array((files[row].path for row in rows), pa.string(), size=len(rows)),
        "split": pa.array((files[row].split for row in rows), pa.string(), size=len(rows)),
        "label": pa.array(labels),
    }
    table = pa.table({name: columns[name] for name in COLUMNS}, metadata=found.schema.metadata)
    _check_classes(table, folders, splits)
    twins = duplicates(table)
    write_index(Index(root, folders, names, table), folder)
    forget_parts(folder)
    counts = {split: int(pc.sum(pc.equal(table["split"], split)).as_py()) for split in splits}
    facts = {"digest": digest(table), "images": counts, "classes": len(names), "unreadable": looked.unreadable}
    told = [
        *remarks(root, [file.path for file in files if file.offset < 0]),
        *(twin["text"] for twin in twins.values()),
        *left_out_text(left_out),
    ]
    left = {"left_out": dict(left_out.most_common())}
    return {**facts, **left, "read": looked.read, "duplicates": twins, "told": told}


def left_out_text(left_out: Mapping[str, int]) -> list[str]:
    """What lies there and is not read, in a line; none if that is nothing."""
    kinds = [f"{number} {kind}" for kind, number in left_out.items()]
    more = [f"{len(kinds) - _KINDS} more kinds"] if len(kinds) > _KINDS else []
    return [f"left out: {', '.join([*kinds[:_KINDS], *more])}"] if kinds else []


def index_summary(facts: Facts) -> list[str]:
    """What an index found, in a few lines."""
    splits = (f"{split} {number} images of {facts['classes']} classes" for split, number in facts["images"].items())
    unreadable = [f"{facts['unreadable']} unreadable images skipped"] if facts["unreadable"] else []
    return ["; ".join(splits), *unreadable, *facts["told"]]


def duplicates(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Images whose content lies in several classes (``classes``) or several splits (``splits``), where there are any.

    Told are the number of ``images``, two of them as an ``example``, and the same as a ``text``.
    """
    words = {"classes": "in more than one class", "splits": "in more than one split (a leak into the test)"}
    found: dict[str, dict[str, Any]] = {}
    for name, column in (("classes", "label"), ("splits", "split")):
        places = table.group_by("hash", use_threads=False).aggregate([(column, "count_distinct")])
        shared = places.filter(pc.greater(places[f"{column}_count_distinct"], 1))["hash"]
        if len(shared):
            copies = table.filter(pc.equal(table["hash"], shared[0])).group_by(column, use_threads=False)
            example = copies.aggregate([("id", "first")])["id_first"].to_pylist()[:2]
            are = "image is" if len(shared) == 1 else "images are"
            text = f"{len(shared)} {are} {words[name]} (same content), such as {' and '.join(example)}"
            found[name] = {"images": len(shared), "example": example, "text": text}
    return found


def write_index(index: Index, folder: Path) -> None:
    """Writes an index where :func:`read_index` finds it."""
    with sealed(folder / TABLE) as path:
        write_table(path, index.table)
    own = index.root.relative_to(folder.absolute()).as_posix() if index.root.is_relative_to(folder.absolute()) else ""
    write_json(folder / CLASSES, {"root": own, "folders": index.class_folders, "names": index.class_names})


def read_index(folder: Path, place: Path) -> Index:
    """Reads a finished index; ``place`` is where the dataset's images lie, if they do not lie in the store."""
    classes, table = read_json(folder / CLASSES), pq.read_table(folder / TABLE)
    if pc.any(own := pc.starts_with(table["path"], OWN)).as_py():
        paths = pc.replace_substring(table["path"], OWN, f"{folder.absolute()}/", max_replacements=1)
        column = table.schema.get_field_index("path")
        table = table.set_column(column, "path", pc.if_else(own, paths, table["path"]))
    return Index(_root(folder, place, classes["root"]), classes["folders"], classes["names"], table)


def index_of(trial: Trial) -> Index:
    """The images of a trial's dataset."""
    return read_index(trial.stages["index"].folder, trial.experiment.dataset.place)


def images_of(trial: Trial) -> Index:
    """The training images that a trial selects from."""
    return pool_of(trial.stages["index"].folder, trial.images.folder, trial.experiment.dataset.place)


def pool_of(index: Path, images: Path, place: Path) -> Index:
    """The training images that are selected from: those of an index, or of a pool that goes back to it."""
    return read_index(images, _root(index, place, read_json(index / CLASSES)["root"])).split("train")


def _root(folder: Path, place: Path, own: str) -> Path:
    return folder.absolute() / own if own else place


def digest(table: pa.Table) -> str:
    """A key of what images there are: their ids, splits, classes, contents, and how pixels are made of these."""
    key = hashlib.blake2b(str(images.VERSION).encode(), digest_size=8)
    for batch in table.select(["id", "split", "label", "hash"]).to_batches(max_chunksize=4096):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        key.update("".join(f"{image} {split} {label} {content}\n" for image, split, label, content in rows).encode())
    return key.hexdigest()


def _check_classes(table: pa.Table, folders: list[str], splits: list[str]) -> None:
    for split in splits:
        present = set(pc.unique(table.filter(pc.equal(table["split"], split))["label"]).to_pylist())
        for label, folder in enumerate(folders):
            if label not in present:
                raise UserError(f"class '{folder}' has no readable {split} images")
