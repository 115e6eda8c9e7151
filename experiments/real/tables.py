"""Tables of the study on real images, in Markdown: `python experiments/real/tables.py [folder]`.

Every file of the study becomes a table: mean and standard deviation of the last top-1 over the seeds, and what the
first selection is ahead by, with the standard error of the paired differences. `--write` puts
them into README.md beside this file, between its markers.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).parent
MARKS = "<!-- tables -->", "<!-- end of tables -->"


def spread(values: list[float]) -> str:
    """Mean and, of several, standard deviation."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def ahead(ours: dict[int, float], theirs: dict[int, float]) -> str:
    """Mean of the paired differences and, of several, its standard error."""
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if len(differences) < 2:
        return f"{differences[0]:+.1f}" if differences else ""
    return f"{mean(differences):+.1f} ± {stdev(differences) / len(differences) ** 0.5:.1f}"


def table(title: str, found: dict[str, Any]) -> str:
    """One file's table, the highest first."""
    accuracies: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in found["results"]:
        accuracies[entry["selection"]][entry["seed"]] = entry["top1_last"]
    first = found["results"][0]
    ours = accuracies[first["selection"]]
    prior, teacher = found["prior"].get("top1"), found["teacher"].get("top1")
    known = f"prior {prior:.0f} % of {found['prior']['classes']} classes, " if prior else ""
    lines = [
        f"**{title}**: {first['student']}, protocol `{first['protocol']}`, {len(ours)} seeds, "
        f"{first['test_images']} test images; {known}teacher {teacher:.1f} %; commit `{found['commit'][:7]}`",
        "",
        f"| selection | top-1, % | {first['selection']} is ahead by |",
        "|---|---|---|",
    ]
    for name, by_seed in sorted(accuracies.items(), key=lambda item: -mean(item[1].values())):
        lines.append(f"| {name} | {spread([*by_seed.values()])} | {'' if by_seed is ours else ahead(ours, by_seed)} |")
    return "\n".join(lines)


def tables(folder: Path) -> str:
    """The tables of all files in a folder, by name and IPC."""
    named = [(*file.stem.split("_ipc"), file) for file in folder.glob("*_ipc*.json")]
    files = [file for _, _, file in sorted(named, key=lambda item: (item[0], int(item[1])))]
    titles = [file.stem.replace("_ipc", ", IPC ").replace("_", " ") for file in files]
    return "\n\n".join(table(title, json.loads(file.read_text())) for title, file in zip(titles, files, strict=True))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--write", action="store_true", help="put them into README.md")
    arguments = parser.parse_args()
    text = tables(arguments.folder)
    print(text)
    if arguments.write:
        page = HERE / "README.md"
        between = re.compile(f"{MARKS[0]}.*{MARKS[1]}", re.DOTALL)
        page.write_text(between.sub(lambda _: f"{MARKS[0]}\n{text}\n{MARKS[1]}", page.read_text()))


if __name__ == "__main__":
    main()
