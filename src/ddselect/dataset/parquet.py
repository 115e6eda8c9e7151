"""Images in parquet files as the library ``datasets`` writes them: which columns they are, and their classes."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddselect.dataset.formats import is_named_as_picture, suffix_of
from ddselect.dataset.layout import one_form
from ddselect.runtime.errors import UserError, choose, one_line
from ddselect.runtime.files import atomic

_ROWS = 64  # read at a time
_CARD = "README.md"
Row = tuple[int, str, bytes, str]  # number, name of the image, its bytes, its class


class Table:
    """The parquet files of a split.

    Attributes:
        image: Column of the images.
        label: Column of their classes.
        names: Names of the classes in their order, by what stands in that column.
    """

    def __init__(self, who: str, root: Path, paths: list[Path], label: str) -> None:
        """Looks at the columns and at what is told of them, in the files or on the card in ``root``.

        Raises:
            UserError: A file is damaged, or there is no telling which columns are meant (``label``, where given).
        """
        self.who, self.paths = who, paths
        schema = _reading(paths[0], pq.read_schema)
        told = _told(schema, root)
        images = [field.name for field in schema if told.get(field.name) == "image" or _has_bytes(field.type)]
        self.image = self._one("images", images or [name for name in ("image", "img") if name in schema.names], schema)
        named = [name for name, about in told.items() if isinstance(about, list) and name in schema.names]
        usual = [name for name in ("label", "labels", "class") if name in schema.names]
        if label and label not in schema.names:
            raise UserError(f"{who}: {paths[0]} has no column '{label}'; {choose(label, schema.names)}")
        self.label = label or self._one("classes", [n for n in usual if n in named][:1] or named or usual[:1], schema)
        classes = told.get(self.label)
        values = list(range(len(classes))) if isinstance(classes, list) else self._values()
        self.names = dict(zip(values, map(_as_folder, classes if isinstance(classes, list) else values), strict=True))

    def _one(self, what: str, found: list[str], schema: pa.Schema) -> str:
        if len(found) == 1:
            return found[0]
        said = f"several columns of {what}, {', '.join(found)}" if found else f"no column of {what} that says it is one"
        remedy = "choose with dataset.classes=<column>" if what == "classes" else "one column of images is needed"
        raise UserError(f"{self.who}: {self.paths[0]} has {said}; its columns are {', '.join(schema.names)}; {remedy}")

    def _values(self) -> list[Any]:
        """What stands in the column of classes, sorted."""
        found: set[Any] = set()
        for path in self.paths:
            found |= set(
                pc.unique(_reading(path, lambda p: pq.read_table(p, columns=[self.label]))[self.label]).to_pylist()
            )
        return sorted(found - {None}, key=lambda value: (isinstance(value, str), value))

    def rows(self, path: Path) -> Iterator[Row]:
        """The rows of a file.

        Raises:
            UserError: It is damaged, or a row has no image or no class.
        """
        number = 0
        for batch in _batches(path, [self.image, self.label]):
            images = batch.column(self.image)
            is_struct = pa.types.is_struct(images.type)
            for image, label in zip(images.to_pylist(), batch.column(self.label).to_pylist(), strict=True):
                data, name = (image or {}).get("bytes") if is_struct else image, is_struct and (image or {}).get("path")
                if not data:
                    raise UserError(
                        f"{path}: row {number} holds no image, but at most its path; embed the images in it"
                    )
                if label not in self.names:
                    raise UserError(
                        f"{path}: row {number} has the class {label}, which is none of the {len(self.names)}; where a "
                        "split has no classes, choose another with dataset.test=<split> or dataset.holdout=0.2"
                    )
                yield number, name or "", data, self.names[label]
                number += 1


def row_count(path: Path) -> int:
    """Rows of a file, by its end."""
    return int(_reading(path, pq.read_metadata).num_rows)


def pack(rows: Iterator[Row], tars: dict[str, Path], split: Callable[[int], str]) -> None:
    """Writes the images of some rows, as they are, and their classes to the tar of their split, as WebDataset does."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(atomic(path)) for name, path in tars.items()}
        opened = {
            name: stack.enter_context(tarfile.open(path, "w", format=tarfile.USTAR_FORMAT))
            for name, path in files.items()
        }
        for number, name, data, kind in rows:
            suffix = suffix_of(name) if is_named_as_picture(name) else ".jpg"  # whose content decides
            for end, content in ((suffix, data), (".cls", kind.encode())):
                about = tarfile.TarInfo(f"{number:08d}{end}")
                about.size = len(content)
                opened[split(number)].addfile(about, io.BytesIO(content))


def _as_folder(value: object) -> str:
    """A class as the name of a folder."""
    return one_form(" ".join(str(value).split()).replace("/", "_").replace("\\", "_")).lstrip(".")


def _has_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and "bytes" in {kind.field(number).name for number in range(kind.num_fields)}


def _reading(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: it is no whole parquet file ({one_line(error)}); get it again") from None


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    batches = _reading(path, pq.ParquetFile).iter_batches(batch_size=_ROWS, columns=columns)
    while batch := _reading(path, lambda _: next(batches, None)):
        yield batch


def _told(schema: pa.Schema, root: Path) -> dict[str, str | list[str]]:
    """What is told of columns: ``image``, or the names of classes."""
    found: dict[str, str | list[str]] = {}
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    for name, about in features.items():
        if isinstance(about, dict) and about.get("_type") == "ClassLabel":
            found[name] = list(about["names"])
        elif isinstance(about, dict) and about.get("_type") == "Image":
            found[name] = "image"
    return found or _told_by_card(root / _CARD)


def _told_by_card(path: Path) -> dict[str, str | list[str]]:
    if not path.is_file():
        return {}
    from huggingface_hub.repocard import metadata_load

    found: dict[str, str | list[str]] = {}
    infos = cast(Any, metadata_load(path) or {}).get("dataset_info") or []
    for info in infos if isinstance(infos, list) else [infos]:
        for about in info.get("features") or []:
            kind = about.get("dtype")
            if kind == "image":
                found.setdefault(about["name"], kind)
            elif isinstance(kind, dict) and "class_label" in kind:
                names = kind["class_label"]["names"]  # {'0': cat, '1': dog}, or a list
                found.setdefault(
                    about["name"], names if isinstance(names, list) else [names[k] for k in sorted(names, key=int)]
                )
    return found
