"""What the page shows of each class, in as much detail as there is room for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddselect.dataset.index import Index
from ddselect.report.distilled import DistilledSet, Sheet
from ddselect.report.examples import Example, Examples
from ddselect.report.pictures import Detail, details
from ddselect.report.settings import ReportConfig

_SAMPLE = 20  # classes that are tried first
_MARGIN = 1.04  # the others may be larger
_REST = 150_000  # bytes of the page without its cards
_FRAME = 300  # bytes of a card around what it shows


@dataclass(frozen=True)
class Card:
    """A class.

    Attributes:
        label: Its number.
        name: Its name.
        folder: Its folder in the dataset.
        prompt: What the prior was told, if it was asked.
        accuracies: Top-1 in percent by selection, mean over seeds; those that are known.
        sheets: The distilled images of each selection.
        examples: Training images.
    """

    label: int
    name: str
    folder: str
    prompt: str | None
    accuracies: dict[str, float]
    sheets: list[Sheet]
    examples: list[Example]

    @property
    def bytes(self) -> int:
        """About how much it takes on the page."""
        shown: list[Sheet | Example] = [*self.sheets, *self.examples]
        return _FRAME + len(self.prompt or "") + 150 * len(self.accuracies) + sum(part.bytes for part in shown)


@dataclass(frozen=True)
class Cards:
    """All classes.

    Attributes:
        cards: In class order.
        detail: What there was room for.
        full: Whether that is all that was asked for.
    """

    cards: list[Card]
    detail: Detail
    full: bool


@dataclass(frozen=True)
class Material:
    """What cards are made of.

    Attributes:
        index: The training images.
        sets: The distilled sets, the chosen selection's first.
        examples: Training images.
        accuracies: Top-1 in percent of each class by selection; see :func:`ddselect.report.per_class.per_class`.
        prompts: What the prior was told about each class; empty if it was not asked.
    """

    index: Index
    sets: Sequence[DistilledSet]
    examples: Examples
    accuracies: Mapping[str, Sequence[float | None]]
    prompts: Sequence[Mapping[str, str]]

    def card(self, label: int, detail: Detail) -> Card:
        """The card of a class."""
        sets = self.sets if detail.rivals else self.sets[:1]
        known = {name: values[label] for name, values in self.accuracies.items()}
        return Card(
            label=label,
            name=self.index.class_names[label],
            folder=self.index.class_folders[label],
            prompt=self.prompts[label]["positive"] if self.prompts else None,
            accuracies={name: value for name, value in known.items() if value is not None},
            sheets=[item.sheet(label, detail) for item in sets if item.entries[label]],
            examples=self.examples.of(label, detail),
        )


def build_cards(material: Material, settings: ReportConfig) -> Cards:
    """The cards of all classes in the richest detail that keeps the page below its size.

    A few classes, evenly spread, tell how large all will be.
    """
    count = len(material.index.class_names)
    sample = [i * count // min(count, _SAMPLE) for i in range(min(count, _SAMPLE))]
    choices = details(settings.images_per_class, settings.maps_per_class)
    for detail in choices:
        cards = [material.card(label, detail) for label in sample]
        if sum(card.bytes for card in cards) * count / len(cards) * _MARGIN < settings.megabytes * 1e6 - _REST:
            break
    if count > len(cards):
        cards = [material.card(label, detail) for label in range(count)]
    return Cards(cards, detail, detail == choices[0])
