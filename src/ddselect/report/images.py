"""What the index found wrong with the dataset's images: for the head of the page."""

from dataclasses import dataclass

from ddselect.dataset.survey import UNREADABLE
from ddselect.runtime.files import read_json
from ddselect.runtime.store import Done

_LISTED = 50  # unreadable images


@dataclass(frozen=True)
class Trouble:
    """What a reader should know of the images.

    Attributes:
        copies: A sentence for each kind of images that there are twice.
        count: Number of unreadable images that were skipped.
        unreadable: Path and reason of the first of them.
    """

    copies: list[str]
    count: int
    unreadable: list[tuple[str, str]]


def image_trouble(index: Done) -> Trouble | None:
    """What the finished index says; None if nothing is wrong."""
    copies = [str(twin["text"]) for twin in index.facts.get("duplicates", {}).values()]
    path = index.folder / UNREADABLE
    listed = read_json(path)["files"] if path.exists() else []
    if not copies and not listed:
        return None
    return Trouble(copies, len(listed), [(entry["path"], entry["error"]) for entry in listed[:_LISTED]])
