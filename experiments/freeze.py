"""What a study keeps of a run: `python experiments/freeze.py <results.json> <new file>`.

Accuracies by selection and seed, the command, the commit and how well the maps find the object; nothing that differs
from machine to machine. What is the same for all students stands once.
"""

import json
import sys
from pathlib import Path
from typing import Any

KEPT = (
    "selection",
    "composition",
    "pool",
    "ipc",
    "protocol",
    "student",
    "seed",
    "top1_last",
    "top1_best",
    "training_images",
)
ALWAYS = ("selection", "seed", "top1_last")


def entry(found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one student."""
    kept = {key: found[key] for key in KEPT if key in found}
    if kept.pop("pool", "real") != "real":
        kept["selection"] += f" pool={found['pool']}"
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in kept.items()}


def frozen(head: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """A file's text: a line for each student."""
    entries = [entry(each) for each in results]
    same = {
        key: entries[0][key]
        for key in entries[0]
        if key not in ALWAYS and all(e.get(key) == entries[0][key] for e in entries)
    }
    lines = [json.dumps({key: value for key, value in each.items() if key not in same}) for each in entries]
    text = json.dumps({**head, "all": same}, indent=1)
    return text.removesuffix("\n}") + ',\n "results": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def main() -> None:
    """The command."""
    found, place = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    environment = found["environment"]
    head = {"command": environment["command"], "commit": environment["commit"], "localisation": found["localisation"]}
    place.write_text(frozen(head, found["results"]))


if __name__ == "__main__":
    main()
