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
_FRAME = 1200  # bytes of a card around what it shows


@dataclass(frozen=True)
class Card:
    """A class."""

    label: int
    name: str
    folder: str
    prompt: str | None  # what the prior was told, if it was asked
    accuracies: dict[str, float]  # top-1 in percent by selection, mean over seeds; those that are known
    sheets: list[Sheet]
    examples: list[Example]


def build_cards(
    index: Index,
    sets: Sequence[DistilledSet],
    examples: Examples,
    accuracies: Mapping[str, Sequence[float | None]],
    prompts: Sequence[Mapping[str, str]],
    settings: ReportConfig,
) -> tuple[list[Card], Detail, bool]:
    """The cards of all classes in the richest detail that keeps the page below its size.

    A few classes, evenly spread, tell how large all will be. The sets begin with the chosen selection's.

    Returns:
        The cards in class order, what there was room for, and whether that is all that was asked for.
    """

    def card(label: int, detail: Detail) -> Card:
        known = {name: value for name, values in accuracies.items() if (value := values[label]) is not None}
        shown = sets if detail.rivals else sets[:1]
        return Card(
            label,
            index.class_names[label],
            index.class_folders[label],
            prompts[label]["positive"] if prompts else None,
            known,
            [item.sheet(label, detail) for item in shown if item.entries[label]],
            examples.of(label, detail),
        )

    count = len(index.class_names)
    sample = [i * count // min(count, _SAMPLE) for i in range(min(count, _SAMPLE))]
    choices = details(settings.images_per_class, settings.maps_per_class)
    for detail in choices:
        cards = [card(label, detail) for label in sample]
        size = sum(_FRAME + len(repr(one)) for one in cards)  # pictures are text too, and most of it
        if size * count / len(cards) * _MARGIN < settings.megabytes * 1e6 - _REST:
            break
    if count > len(cards):
        cards = [card(label, detail) for label in range(count)]
    return cards, detail, detail == choices[0]
