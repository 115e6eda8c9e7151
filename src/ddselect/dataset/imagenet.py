"""ImageNet-1K (ILSVRC 2012) as its downloads lie on disk, subsets of its classes, and Tiny-ImageNet."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ddselect.dataset.folders import ImageFolderConfig
from ddselect.dataset.ground_truth import (
    DEVKIT,
    SOLUTION,
    ground_truth_files,
    read_annotations,
    read_ground_truth,
    sort_by_class,
)
from ddselect.dataset.layout import subfolders
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import file_signature
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import execution

_ANNOTATIONS = "val_annotations.txt"
_KAGGLE = Path("ILSVRC") / "Data" / "CLS-LOC"


@dataclass
class FlatTestConfig(ImageFolderConfig):
    """Class folders for training; for testing these, or one flat folder with files that say the class of each image."""

    def _is_flat(self, root: Path, split: str) -> bool:
        """Whether the images of a split lie in one folder."""
        raise NotImplementedError

    def _truth(self, root: Path) -> dict[str, str]:
        """Class of each test image in the flat folder by the name of its file without suffix."""
        raise NotImplementedError

    def _truth_files(self, root: Path) -> list[Path]:
        """The files that say it."""
        raise NotImplementedError

    def signature(self) -> str:
        files = self._truth_files(self.provide(Path()))
        return str(key64(super().signature(), *[file_signature(file) for file in files]))

    def _places(self, root: Path, split: str) -> list[Path]:
        return self._parts(root, split) if self._is_flat(root, split) else super()._places(root, split)

    def _images(self, root: Path, split: str, left_out: Counter[str]) -> dict[str, list[str]]:
        if not self._is_flat(root, split):
            return super()._images(root, split, left_out)
        truth, classes = self._truth(root), self._class_folders(root, "train")
        return sort_by_class(root, self._parts(root, split)[0], truth, list(classes), bool(self.classes), left_out)


@dataclass
class ImageNetConfig(FlatTestConfig):
    """Folders named by WordNet ID for training; for validation these, or one flat folder with its ground truth.

    Sorted, the 1000 folders are in the class order of pretrained models.
    """

    layout: ClassVar[str] = (
        "{train}/n01440764/*.JPEG ... and {test}/n01440764/*.JPEG ... (folders are WordNet IDs)\n"
        f"for the latter also {{test}}/ILSVRC2012_val_00000001.JPEG ... with {DEVKIT}/ beside it\n"
        f"or as from Kaggle: {_KAGGLE}/{{train}}, {_KAGGLE}/{{test}} and {SOLUTION}\n"
        "or in pieces: {train}.X1, {train}.X2 ... and {test}.X"
    )
    class_count: ClassVar[int] = 1000
    devkit: str = execution("")  # its files decide, wherever they lie

    def _parts(self, root: Path, split: str) -> list[Path]:
        name = self.train if split == "train" else self.test
        if self.holdout or (root / name).is_dir():
            return super()._parts(root, split)
        others = [root / _KAGGLE / name, *sorted(root.glob(f"{name}.X*"))]
        return [folder for folder in others if folder.is_dir()] or super()._parts(root, split)

    def _is_flat(self, root: Path, split: str) -> bool:
        return split == "test" and not any(subfolders(part) for part in self._parts(root, split))

    def _truth(self, root: Path) -> dict[str, str]:
        files = self._truth_files(root)
        if not files:
            raise self._refusal(
                f"{self._parts(root, 'test')[0]} has no class folders, and there is no ground truth of a flat one: "
                "give dataset.devkit=<folder of the devkit's data, or a CSV file of images and WordNet IDs>",
                root,
            )
        return read_ground_truth(files)

    def _truth_files(self, root: Path) -> list[Path]:
        if not self.devkit:
            return next((found for place in (DEVKIT, SOLUTION) if (found := ground_truth_files(root / place))), [])
        found = ground_truth_files(Path(self.devkit))
        if not found:
            raise UserError(f"dataset.devkit={self.devkit}: neither the folder of the devkit's data nor a CSV file")
        return found


@dataclass
class TinyImageNetConfig(FlatTestConfig):
    """Training images below their WordNet ID; validation images in one folder with annotations, or below theirs.

    The classes are sorted, as all who read it as class folders have them, and not in the order of ``wnids.txt``.
    """

    layout: ClassVar[str] = (
        "{train}/n01443537/images/*.JPEG ..., {test}/images/*.JPEG with {test}/" + _ANNOTATIONS + ", words.txt"
    )
    class_count: ClassVar[int] = 200
    nested: str = "use"

    def _is_flat(self, root: Path, split: str) -> bool:
        return split == "test" and self._truth_files(root)[0].is_file()

    def _truth(self, root: Path) -> dict[str, str]:
        return read_annotations(self._truth_files(root)[0])

    def _truth_files(self, root: Path) -> list[Path]:
        return [self._parts(root, "test")[0] / _ANNOTATIONS]
