"""The dataset card that travels with a distilled set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddselect import __version__
from ddselect.runtime.files import read_text, write_text

README = "README.md"
TAG = "ddselect"  # in the header of every card
_BATCH = 50


@dataclass(frozen=True)
class Card:
    """What a card tells."""

    dataset: str
    license: str
    terms: str  # where its terms stand, or what they say; may be empty
    pool: str  # what was selected from: ``real``, ``generated``, ``prototypes``, ``mixed``, or ``given``
    selection: str
    settings: dict[str, Any]
    judge: str  # who scored the candidates, in words; empty for nobody
    seed: int
    ipc: int | None  # images per class; None for all
    factor: int  # a stitched image holds factor x factor crops
    whole: float  # share of the whole images
    side: int  # side of an image in pixels
    images: int
    folders: list[str]  # in class order
    mix_classes: bool = False

    @property
    def is_sorted(self) -> bool:
        """Whether the classes have the order of their sorted folders, in which others number them."""
        return self.folders == sorted(self.folders)

    @property
    def batch_size(self) -> int:
        """A batch size for the example on the card, which leaves no single image over for batch norm to stumble on."""
        size = min(self.images, _BATCH)
        return size if self.images % size != 1 else size - 1


def card_text(card: Card, shards: int = 0, labels: dict[str, Any] | None = None) -> str:
    """Markdown with the header that dataset hubs read, of so many tars (0: of class folders).

    With what ``labels.json`` says, where labels lie beside the images, it tells how to read these.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string(read_text(Path(__file__).with_name("card.md.jinja")))
    facts = {"card": card, "shards": shards, "labels": labels, "version": __version__, "tag": TAG}
    return f"{template.render(facts).strip()}\n"


def write_card(root: Path, card: Card) -> None:
    """Writes the card of a distilled set in class folders."""
    write_text(root / README, card_text(card))
