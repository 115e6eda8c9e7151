"""Tiny-ImageNet: 200 classes of 64-pixel images, in the folder that its archive unpacks to."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ddselect.dataset.folders import ImageFolderConfig
from ddselect.dataset.ground_truth import read_annotations, sort_by_class
from ddselect.runtime.files import file_signature
from ddselect.runtime.seeds import key64

_ANNOTATIONS = "val_annotations.txt"


@dataclass
class TinyImageNetConfig(ImageFolderConfig):
    """Training images below their WordNet ID; validation images in one folder with annotations, or below theirs.

    The classes are sorted, as all who read it as class folders have them, and not in the order of ``wnids.txt``.
    """

    layout: ClassVar[str] = (
        "{train}/n01443537/images/*.JPEG ..., {test}/images/*.JPEG with {test}/" + _ANNOTATIONS + ", words.txt"
    )

    def signature(self) -> str:
        annotations = self._parts(self.provide(Path()), "test")[0] / _ANNOTATIONS
        return str(key64(super().signature(), file_signature(annotations)))

    def _is_flat(self, root: Path, split: str) -> bool:
        return split == "test" and (self._parts(root, split)[0] / _ANNOTATIONS).is_file()

    def _places(self, root: Path, split: str) -> list[Path]:
        return self._parts(root, split) if self._is_flat(root, split) else super()._places(root, split)

    def _images(self, root: Path, split: str) -> dict[str, list[str]]:
        if not self._is_flat(root, split):
            return super()._images(root, split)
        part, classes = self._parts(root, split)[0], self._class_folders(root, "train")
        return sort_by_class(root, part, read_annotations(part / _ANNOTATIONS), list(classes), bool(self.classes))
