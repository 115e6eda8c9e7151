"""Class names from a file."""

import csv
import json
from pathlib import Path

from ddselect.runtime.errors import UserError, one_line

SUFFIXES = (".csv", ".json", ".txt")


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
    path = Path(source).expanduser()
    read = {".json": _from_json, ".csv": _from_csv, ".txt": _from_text}[path.suffix.lower()]
    try:
        found = read(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise UserError(
            f"dataset.names={source}: {reason}; a JSON object from class folder to name is needed, a CSV file with the "
            "heading class,name, or a text file with lines of folder and name"
        ) from None
    names = [found.get(folder, "").split(",")[0].strip() for folder in folders]
    if "" in names:
        raise UserError(f"dataset.names={source}: no name of class folder '{folders[names.index('')]}'")
    return names


def _from_json(text: str) -> dict[str, str]:
    content = json.loads(text)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise ValueError("not a JSON object of names")
    return content


def _from_csv(text: str) -> dict[str, str]:
    rows = csv.DictReader(text.splitlines())
    if not {"class", "name"} <= set(rows.fieldnames or []):
        raise ValueError(f"its heading is '{','.join(rows.fieldnames or [])}'")
    return {row["class"].strip(): row["name"] or "" for row in rows if row["class"]}


def _from_text(text: str) -> dict[str, str]:
    """The folder ends at the first tab, or where a line has none at the first space."""
    lines = [line.split("\t" if "\t" in line else None, 1) for line in text.splitlines() if line.strip()]
    return {line[0].strip(): line[1] if len(line) > 1 else "" for line in lines}
