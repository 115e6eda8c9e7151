"""The dataset card that travels with a distilled set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddselect import __version__
from ddselect.runtime.files import write_text

README = "README.md"
TAG = "ddselect"  # in the header of every card
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"
_BATCH = 50
_PATCH = {"source": "string", "box": ["int64"], "cell": ["int64"], "kind": "string", "score": "float64"} | {
    "cluster": "int64", "rank": "int64", "repeat": "string"
}  # fmt: skip
_OWN_CLASS = {"label": "int64", "class": "string"}  # of a patch, where classes are mixed


@dataclass(frozen=True)
class Card:
    """What a card tells.

    Attributes:
        dataset: Name of the dataset that the images come from.
        license: Its licence, by the hub's identifier.
        terms: Where its terms stand, or what they say; may be empty.
        pool: What was selected from: ``real``, ``generated``, ``prototypes`` or ``mixed``.
        selection: Name of the selection.
        settings: Its settings.
        judge: Who scored the candidates, in words; empty for nobody.
        seed: Seed of selection and composition.
        ipc: Images per class; None for all.
        factor: A stitched image holds factor x factor crops.
        whole: Share of the whole images.
        mix_classes: Whether the crops of a stitched image are of different classes.
        side: Side of an image in pixels.
        images: Number of images.
        folders: The class folders, in class order.
    """

    dataset: str
    license: str
    terms: str
    pool: str
    selection: str
    settings: dict[str, Any]
    judge: str
    seed: int
    ipc: int | None
    factor: int
    whole: float
    side: int
    images: int
    folders: list[str]
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
    """Markdown with the header that dataset hubs read.

    Args:
        card: What it tells.
        shards: Number of tars, for a set in the form of WebDataset; 0 for one in class folders.
        labels: What ``labels.json`` says, if labels lie beside the images.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string(Path(__file__).with_name("card.md.jinja").read_text())
    facts = {"card": card, "shards": shards, "labels": labels, "version": __version__}
    return f"---\n{_header(card, shards)}\n---\n\n{template.render(facts).strip()}\n"


def write_card(root: Path, card: Card) -> None:
    """Writes the card of a distilled set in class folders."""
    write_text(root / README, card_text(card))


def _header(card: Card, shards: int) -> str:
    """YAML that the hub and the library ``datasets`` understand."""
    from huggingface_hub import DatasetCardData

    files: str | list[str] = "train-*.tar" if shards else ["metadata.jsonl", "*/*.png"]
    extra: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}]}
    if card.license == "other":
        extra |= {"license_name": f"{card.dataset}-terms", "license_link": card.terms}
    if not shards:
        extra["dataset_info"] = {"features": _features(card.mix_classes)}
    data = DatasetCardData(
        pretty_name=f"{card.dataset} distilled by {card.selection}",
        license=card.license,
        task_categories=["image-classification"],
        size_categories=[next((name for limit, name in _SIZES if card.images < limit), _LARGEST)],
        tags=["dataset-distillation", TAG],
        **extra,
    )
    return data.to_yaml()


def _features(mix_classes: bool) -> list[dict[str, Any]]:
    """The columns of ``metadata.jsonl`` with the image, as the library ``datasets`` writes them."""
    patch = [
        {"name": name, "list": kind[0]} if isinstance(kind, list) else {"name": name, "dtype": kind}
        for name, kind in (_PATCH | (_OWN_CLASS if mix_classes else {})).items()
    ]
    return [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": "int64"},
        {"name": "class", "dtype": "string"},
        {"name": "patches", "list": patch},
    ]
