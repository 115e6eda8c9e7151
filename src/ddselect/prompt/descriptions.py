"""Sentences that describe each class, from a file or from WordNet."""

import csv
import json
from pathlib import Path

from ddselect.dataset.classes import imagenet_descriptions
from ddselect.runtime.errors import UserError, one_line


def read_descriptions(source: str, class_names: list[str], class_folders: list[str]) -> list[list[str]]:
    """The sentences of each class.

    Args:
        source: ``imagenet`` for WordNet's definitions (folders are WordNet IDs), or a file: JSON, an object from class
            to a sentence or a list of them; or CSV with a heading ``class,description`` and a line for each sentence.
            A class is called by its folder or its name.
        class_names: Class names.
        class_folders: Class folders, in the same order.

    Raises:
        UserError: The file is missing or damaged, or a class has no sentence.
    """
    if source == "imagenet":
        return [[sentence] for sentence in imagenet_descriptions(class_folders)]
    path = Path(source).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = _from_json(text) if path.suffix.lower() == ".json" else _from_csv(text)
    except (OSError, ValueError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise UserError(
            f"prompt.descriptions={source}: {reason}; a JSON object from class to sentences is needed, or a CSV file "
            "with the heading class,description"
        ) from None
    sentences = []
    for folder, name in zip(class_folders, class_names, strict=True):
        mine = found.get(folder) or found.get(name)
        if not mine:
            raise UserError(f"prompt.descriptions={source}: no description of class '{name}' (folder '{folder}')")
        sentences.append(mine)
    return sentences


def _from_json(text: str) -> dict[str, list[str]]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    found = {str(key): [value] if isinstance(value, str) else value for key, value in content.items()}
    for key, sentences in found.items():
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise ValueError(f"the value of '{key}' is neither a sentence nor a list of them")
    return found


def _from_csv(text: str) -> dict[str, list[str]]:
    rows = csv.DictReader(text.splitlines())
    if not {"class", "description"} <= set(rows.fieldnames or []):
        raise ValueError(f"its heading is '{','.join(rows.fieldnames or [])}'")
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["class"] and row["description"]:
            found.setdefault(row["class"].strip(), []).append(row["description"].strip())
    return found
