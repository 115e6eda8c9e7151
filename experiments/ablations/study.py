"""One choice of the method after the other, everything else at its default: a Hydra multirun for each.

    python experiments/ablations/study.py [choice ...] [override ...]

Prints and runs the command of each choice, on validation scenes, and writes <choice>.json beside this file: one row for
each setting with the accuracy of every seed. Then prints the tables. Overrides, such as trainer.students=2, say how it
is run.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).parent
BASE = (
    "dataset.seed=11", "dataset.apart=300", "dataset.fold=1", "evaluation.split=val", "evaluation.quality=false",
    "protocol=digits_hard", "ipc=10", "seeds=[0,1,2]", "compare=[]", "protocol.evaluations=1",
)  # fmt: skip
CHOICES = {
    "crop_scale": ["boxes=scales", "boxes.per_image=1", "boxes.sizes=[0.375],[0.5],[0.75],[1.0]"],
    "features": ["selection.crop_pick=best", "embed=teacher,backbone"],
    "confidence": ["selection.confidence=0,0.5,1"],
    "ranking": ["selection.crop_pick=style,nearest,best,both,top"],
    "clusters": ["selection.crop_pick=best", "selection.clusters_per_pick=0.5,1,2,4"],
    "keep": ["selection.keep=0.125,0.25,0.5,0.8"],
    "draws": ["scoring.draws=2,4,8,16"],
    "prompt": ["backbone=embedded_text", "prompt=none,label,text"],
    "factor": ["composition=stitched", "composition.lead=4", "composition.factor=1,2,4"],
    "unit": ["selection.whole=0,0.25,0.5,0.75,1"],
    "lead": ["selection.lead=0,4"],
}


def command(choice: str) -> list[str]:
    """The multirun of a choice."""
    return ["run.py", "-m", *BASE, *CHOICES[choice]]


def freeze(choice: str, *more: str) -> None:
    """Runs a choice and keeps what it found."""
    line = command(choice)
    print(" ".join(["python", *(f"'{word}'" if "[" in word else word for word in line)]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        subprocess.run(
            [sys.executable, *line, *more, f"hydra.sweep.dir={sweep}"], cwd=HERE.parents[1], check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        rows = [
            {"setting": changed(path.parent), **found(json.loads(path.read_text()))}
            for path in sorted(sweep.glob("*/results.json"), key=lambda path: int(path.parent.name))
        ]
    text = json.dumps({"command": line, "rows": rows}, indent=1)
    (HERE / f"{choice}.json").write_text(text + "\n")


def changed(job: Path) -> str:
    """What tells a job from the others of its sweep."""
    overrides = (job / ".hydra" / "overrides.yaml").read_text().splitlines()
    own, base = [line.removeprefix("- ").strip("'") for line in overrides], {word.partition("=")[0] for word in BASE}
    return " ".join(word for word in own if word.partition("=")[0] not in {*base, "trainer.students", "store"})


def found(results: dict[str, Any]) -> dict[str, Any]:
    """Accuracies by seed, and what the maps find."""
    accuracies = [entry["top1_last"] for entry in results["results"]]
    return {"top1": accuracies, "localisation": results["localisation"]}


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """A choice's table: settings, accuracy, and how much of the true box the best crop covers where that differs."""
    covers = [row["localisation"]["coverage"] for row in rows]
    head = ["setting", "top-1 %", *(["true box covered, %"] if len(set(covers)) > 1 else [])]
    cells = [
        [f"`{row['setting']}`", f"{mean(row['top1']):.1f} ± {stdev(row['top1']):.1f}", f"{100 * cover:.1f}"]
        for row, cover in zip(rows, covers, strict=True)
    ]
    return [f"| {' | '.join(line[: len(head)])} |" for line in (head, ["---"] * len(head), *cells)]


def main(arguments: list[str]) -> None:
    """Runs the choices that were asked for, and prints the tables of all that are there."""
    more = [word for word in arguments if "=" in word]
    for choice in [word for word in arguments if word not in more] or CHOICES:
        freeze(choice, *more)
    for path in sorted(HERE.glob("*.json")):
        print(f"\n### {path.stem}\n", *lines(json.loads(path.read_text())["rows"]), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
