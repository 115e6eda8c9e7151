"""The stored labels of a distilled set, beside its images."""

import shutil
from pathlib import Path
from typing import Any

from ddselect.export.finding import Found
from ddselect.relabel.settings import DESCRIPTION
from ddselect.runtime.files import read_json
from ddselect.runtime.store import MANIFEST


def copy_labels(found: Found, folder: Path) -> None:
    """Copies the labels, if there are any, with what is told of them."""
    for path in sorted(found.labels.iterdir()) if found.labels else ():
        if path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)


def described(found: Found) -> dict[str, Any] | None:
    """What is told of the labels; None if there are none."""
    return read_json(found.labels / DESCRIPTION) if found.labels else None
