"""A distilled set as class folders: for torchvision's ImageFolder and the library ``datasets``."""

import shutil
from pathlib import Path

from ddselect.composition.card import README, card_text
from ddselect.composition.distilled import METADATA
from ddselect.export.finding import Found
from ddselect.export.labels import copy_labels, described
from ddselect.runtime.files import write_text


def write_folder(found: Found, folder: Path) -> None:
    """Copies the images, ``metadata.jsonl`` and the labels, and writes the card."""
    for name in found.card.folders:
        shutil.copytree(found.root / name, folder / name, copy_function=shutil.copyfile)
    shutil.copyfile(found.root / METADATA, folder / METADATA)
    copy_labels(found, folder)
    write_text(folder / README, card_text(found.card, labels=described(found)))
