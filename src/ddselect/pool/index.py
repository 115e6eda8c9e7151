"""The index of a pool: of generated images alone, or of these and the training images."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ddselect.dataset.folders import DatasetConfig, SourceFile
from ddselect.dataset.index import OWN, Index, build_index, digest, read_index, write_index


@dataclass
class GeneratedImages(DatasetConfig):
    """Class folders of generated images, all of them to train with."""

    root: Path = field(kw_only=True)  # the folder of the class folders
    real: Index = field(kw_only=True)  # the training images, whose classes they have

    def provide(self, folder: Path) -> Path:
        return self.root

    def class_folders(self) -> list[str]:
        return self.real.class_folders

    def class_names(self, folders: list[str]) -> list[str]:
        return self.real.class_names

    def files(self, root: Path, left_out: Counter[str]) -> list[SourceFile]:
        found = ((name, path) for name in self.real.class_folders for path in sorted((root / name).glob("*.png")))
        return [SourceFile(path.relative_to(root).as_posix(), "train", name) for name, path in found]


def index_pool(root: Path, real: Index, mixed: bool, view: int, folder: Path) -> dict[str, object]:
    """Writes the index of a pool, and returns facts about it.

    ``root`` has the generated images' class folders, of so many pixels a side as ``view`` says; ``mixed`` tells whether
    the training images belong to the pool.
    """
    facts = build_index(GeneratedImages("generated", view, root=root, real=real), folder)
    if not mixed:
        return facts
    made = read_index(folder, root).table
    for column, before in (("path", f"{OWN}{root.name}/"), ("id", "generated/")):
        values = pc.binary_join_element_wise(before, made[column], "")
        made = made.set_column(made.schema.get_field_index(column), column, values)
    table = pa.concat_tables([real.table, made.select(real.table.column_names)])
    table = table.sort_by([("label", "ascending"), ("id", "ascending")])
    write_index(Index(real.root, real.class_folders, real.class_names, table), folder)
    return {**facts, "digest": digest(table), "images": {"train": len(table)}}
