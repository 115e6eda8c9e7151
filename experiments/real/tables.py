"""Tables of the study on real images, in Markdown: `python experiments/real/tables.py [folder]`.

Every file of the study becomes a table: mean and standard deviation of the last top-1 over the seeds, and what the
first selection is ahead by, with the standard error of the paired differences. `--write` puts
them into README.md beside this file, between its markers, and the main one into that of the project.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).parent


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


def ways(lines: list[dict[str, Any]]) -> str:
    """The table of the ways to choose, by IPC and images seen, the highest first."""
    accuracies: dict[tuple[int, float, str, float, str], list[float]] = defaultdict(list)
    for line in lines:
        ranked = "" if line["share"] == 1 and line["order"] in ("random", "herding", "k_center") else line["rank"]
        accuracies[line["ipc"], line.get("part", 1.0), ranked, line["share"], line["order"]].append(line["top1"])
    rows = [
        "| IPC | of all images | ranked by | share kept | order | top-1, %, validation | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for (ipc, part, ranked, share, order), found in sorted(
        accuracies.items(), key=lambda item: (item[0][0], -item[0][1], -mean(item[1]))
    ):
        cells = (ipc, f"{part:.0%}", ranked, f"{share:.0%}", order, spread(found), len(found))
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def between(page: str, name: str, text: str) -> str:
    """A page with a text between the markers of a name."""
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    return re.sub(f"{marks[0]}.*{marks[1]}", lambda _: f"{marks[0]}\n{text}\n{marks[1]}", page, flags=re.DOTALL)


def front(folder: Path) -> str:
    """The table of the front page: top-1 of the main study by selection and IPC."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in folder.glob("main_ipc*.json"):
        for entry in json.loads(file.read_text())["results"]:
            found[entry["selection"]][entry["ipc"]].append(entry["top1_last"])
    budgets = sorted({ipc for by_ipc in found.values() for ipc in by_ipc})
    rows = [f"| selection | {' | '.join(f'IPC {ipc}' for ipc in budgets)} |", "|---" * (1 + len(budgets)) + "|"]
    for name, by_ipc in sorted(found.items(), key=lambda item: -mean(item[1][max(budgets)])):
        rows.append(f"| {name} | {' | '.join(spread(by_ipc[ipc]) if ipc in by_ipc else '' for ipc in budgets)} |")
    return "\n".join(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--write", action="store_true", help="put them into README.md")
    arguments = parser.parse_args()
    text = tables(arguments.folder)
    print(text)
    if arguments.write:
        page, readme = HERE / "README.md", HERE.parents[1] / "README.md"
        readme.write_text(between(readme.read_text(), "cifar10", front(arguments.folder)))
        tried = [json.loads(line) for line in (HERE / "choose.jsonl").read_text().splitlines()]
        page.write_text(between(between(page.read_text(), "tables", text), "ways", ways(tried)))


if __name__ == "__main__":
    main()
