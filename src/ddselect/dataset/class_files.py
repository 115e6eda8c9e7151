"""What a file says of each class: its name, or sentences about it."""

import csv
import json
from pathlib import Path

from ddselect.dataset.layout import one_form
from ddselect.runtime.errors import UserError, one_line
from ddselect.runtime.files import decode

SUFFIXES = (".csv", ".json", ".txt")  # of files of names


def read_names(source: str, folders: list[str]) -> list[str]:
    """The name of each class.

    Args:
        source: A file: JSON, an object from class folder to name; CSV with the heading ``class,name``; or text, a line
            for each class with its folder, a tab or spaces, and its name, as WordNet's ``words.txt``. Of several names
            with commas between them the first counts.
        folders: Class folders, in class order.

    Raises:
        UserError: The file is missing or damaged, or a class has no name in it.
    """
    found = _read(
        source, "dataset.names", "name", "class folder to name", ", or a text file with lines of folder and name"
    )
    names = [found.get(folder, [""])[-1].split(",")[0].strip() for folder in folders]
    if "" in names:
        raise UserError(f"dataset.names={source}: no name of class folder '{folders[names.index('')]}'")
    return names


def read_descriptions(source: str, names: list[str], folders: list[str]) -> list[list[str]]:
    """The sentences of each class.

    Args:
        source: A file: JSON, an object from class to a sentence or a list of them; or CSV with a heading
            ``class,description`` and a line for each sentence. A class is called by its folder or its name.
        names: Class names.
        folders: Class folders, in the same order.

    Raises:
        UserError: The file is missing or damaged, or a class has no sentence.
    """
    found = _read(source, "prompt.descriptions", "description", "class to sentences")
    for folder, name in zip(folders, names, strict=True):
        if not (found.get(folder) or found.get(name)):
            raise UserError(f"prompt.descriptions={source}: no description of class '{name}' (folder '{folder}')")
    return [found.get(folder) or found[name] for folder, name in zip(folders, names, strict=True)]


def table_of_text(text: str) -> dict[str, str]:
    """Names by class folder, which ends at the first tab, or where a line has none at the first space."""
    lines = [line.split("\t" if "\t" in line else None, 1) for line in text.splitlines() if line.strip()]
    return {line[0].strip(): line[1] if len(line) > 1 else "" for line in lines}


def _read(source: str, setting: str, column: str, json_form: str, other_form: str = "") -> dict[str, list[str]]:
    path = Path(source)
    try:
        text = decode(path.read_bytes())
        if path.suffix.lower() == ".json":
            found = _from_json(text, column)
        elif path.suffix.lower() == ".txt" and column == "name":
            found = {key: [name] for key, name in table_of_text(text).items()}
        else:
            found = _from_csv(text, column)
        return {one_form(key): texts for key, texts in found.items()}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise UserError(
            f"{setting}={source}: {reason}; a JSON object from {json_form} is needed, a CSV file with the heading "
            f"class,{column}{other_form}"
        ) from None


def _from_json(text: str, column: str) -> dict[str, list[str]]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"not a JSON object of {column}s")
    found = {key: [value] if isinstance(value, str) else value for key, value in content.items()}
    for key, texts in found.items():
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise ValueError(f"not a JSON object of {column}s: the value of '{key}' is no text and no list of texts")
    return found


def _from_csv(text: str, column: str) -> dict[str, list[str]]:
    rows = csv.DictReader(text.splitlines())
    if not {"class", column} <= set(rows.fieldnames or []):
        raise ValueError(f"its heading is '{','.join(rows.fieldnames or [])}'")
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["class"] and row[column]:
            found.setdefault(row["class"].strip(), []).append(row[column].strip())
    return found
