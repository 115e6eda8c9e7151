"""CIFAR-10 and CIFAR-100: the published archives, written out once as PNG files, or class folders of images."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

from PIL import Image

from ddselect.dataset.cifar_archives import FORMS, Published
from ddselect.dataset.classes import class_list
from ddselect.dataset.folders import ImageFolderConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import key64

_IMAGES, _WRITTEN = "images", "images.json"
_EVERY = 1000  # images between notes of how many are written: what an interruption can cost at most
_ALL = 60000  # images of each of the two


@dataclass
class CifarConfig(ImageFolderConfig):
    """An archive as published (binary or Python's), packed or not, or ``train`` and ``test`` with class folders.

    ``classes`` is cifar10 or cifar100. A class is called as its folder, with spaces for underscores.
    """

    layout: ClassVar[str] = (
        "cifar-10-binary.tar.gz, cifar-10-python.tar.gz, cifar-100-binary.tar.gz or cifar-100-python.tar.gz, or one of "
        "them unpacked\nor {train}/<class>/*.png and {test}/<class>/*.png"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes not in FORMS:
            raise UserError(f"dataset.classes={self.classes}: choose {' or '.join(FORMS)}")

    def provide(self, folder: Path) -> Path:
        root = super().provide(folder)
        form, place = self._published(root)
        if form is None or place is None:
            return root
        self._write(form, place, folder)
        return (folder / _IMAGES).absolute()

    def class_folders(self) -> list[str]:
        self._published(super().provide(Path()))  # nothing else is looked at
        return class_list(self.classes)

    def class_names(self, folders: list[str]) -> list[str]:
        return [name.replace("_", " ") for name in super().class_names(folders)]

    def counts(self) -> dict[str, int]:
        _, place = self._published(super().provide(Path()))
        return {} if place else super().counts()

    def signature(self) -> str:
        _, place = self._published(super().provide(Path()))
        if place is None:
            return super().signature()
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        return str(key64(*[f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]))

    def _published(self, root: Path) -> tuple[Published | None, Path | None]:
        """The published form that a root holds, and where; neither for class folders.

        Raises:
            UserError: It holds nothing of all this.
        """
        for form in FORMS[self.classes]:
            if place := form.place(root):
                return form, place
        if not (root / self.train).is_dir():
            raise self._refusal(f"no archive of {self.classes} and no class folders found in {root}; {self.hint}", root)
        return None, None

    def _write(self, form: Published, place: Path, folder: Path) -> None:
        """Writes ``<folder>/images/<split>/<class>/<number>.png``, going on where an interruption left it."""
        note = folder / _WRITTEN
        state = read_json(note) if note.exists() else {"images": 0, "complete": False}
        if state["complete"]:
            return
        names, written = class_list(self.classes), 0
        for split in form.batches:
            for name in names:
                (folder / _IMAGES / split / name).mkdir(parents=True, exist_ok=True)
        with counting("unpacking", _ALL, "images") as counter:
            counter.resume(state["images"])
            numbers = {split: count() for split in form.batches}
            for split, labels, images in form.images(place):
                for label, pixels in zip(labels.tolist(), images, strict=True):
                    path = folder / _IMAGES / split / names[label] / f"{next(numbers[split]):05d}.png"
                    written += 1
                    if written > state["images"]:
                        Image.fromarray(pixels).save(path, compress_level=1)
                        counter.advance()
                        if written % _EVERY == 0:
                            write_json(note, {"images": written, "complete": False})
        write_json(note, {"images": written, "complete": True})
