"""The two conditions of every class, as the prompt stage stores them."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ddselect.runtime.files import write_tensors, write_text

VERSION = 1
CONDITIONS, PROMPTS = "conditions.safetensors", "prompts.csv"


@dataclass
class Conditions:
    """What is compared, as numbers that a denoiser understands.

    Attributes:
        positive: For each dataset class, the condition that explains it.
        reference: The condition it is compared with; None if the loss under ``positive`` itself is the score.
        table: For a text-conditional backbone, the embeddings whose rows the numbers are; else empty.
        words: For each dataset class, what its positive condition is in words; then the reference's.
        shortened: Texts that the backbone's encoder cut the end of, as they have too many tokens.
    """

    positive: list[int]
    reference: int | None
    table: dict[str, Tensor] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    shortened: list[str] = field(default_factory=list)


def write_conditions(folder: Path, conditions: Conditions, class_names: list[str], class_folders: list[str]) -> None:
    """Writes the conditions, and ``prompts.csv``: class folder, class name, positive and reference in words."""
    tensors = {
        "positive": torch.tensor(conditions.positive),
        "reference": torch.tensor(-1 if conditions.reference is None else conditions.reference),
        **{f"table.{name}": rows for name, rows in conditions.table.items()},
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["folder", "class", "positive", "reference"])
    *positives, reference = conditions.words
    writer.writerows(
        [folder, name, words, reference]
        for folder, name, words in zip(class_folders, class_names, positives, strict=True)
    )
    write_tensors(folder / CONDITIONS, tensors)
    write_text(folder / PROMPTS, text.getvalue())


def read_conditions(folder: Path) -> Conditions:
    """The conditions of a finished prompt stage."""
    tensors = load_file(folder / CONDITIONS)
    reference = int(tensors.pop("reference"))
    positive = tensors.pop("positive").tolist()
    table = {name.removeprefix("table."): rows for name, rows in tensors.items()}
    lines = read_prompts(folder)
    words = [line["positive"] for line in lines] + [lines[0]["reference"]]
    return Conditions(positive, None if reference < 0 else reference, table, words)


def read_prompts(folder: Path) -> list[dict[str, str]]:
    """The lines of ``prompts.csv``."""
    with (folder / PROMPTS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
