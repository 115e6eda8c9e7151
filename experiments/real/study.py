"""The study on CIFAR-10: `python experiments/real/study.py <folder> [part ...] [--ipc 1 10 50] [--seeds 5]`.

Each part is a run of `run.py` for each IPC, printed as it starts; what the store holds is not computed again. It leaves
`<part>_ipc<IPC>.json` beside this file (or in --to): the command, the commit, and the accuracy of every student.
`python experiments/real/tables.py` makes the tables from these files.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIVALS = (
    *("diffusion", "random_image", "rded", "rded_published", "herding", "kcenter", "moderate", "ccs", "bps"),
    *("top_score", "clusters"),
)
KEPT = ("selection", "ipc", "protocol", "student", "seed", "top1_last", "top1_best", "training_images", "test_images")
PARTS = {  # what stands beside the dataset, IPC and seeds
    "main": [f"compare=[{','.join(RIVALS)}]"],
    "class_labels": ["protocol=hard", "compare=[diffusion,random_image,rded,herding,top_score]"],
    "resnet18": ["student=resnet18", "compare=[diffusion,random_image,rded,bps]"],
    "all": ["selection=all", "compare=[]"],
}


def command(folder: Path, part: str, ipc: int, seeds: int, more: list[str]) -> list[str]:
    """The words of a run after `python run.py`."""
    own = [f"ipc={ipc}", f"seeds={list(range(seeds))}".replace(" ", ""), "evaluation.quality=false"]
    return ["dataset=cifar10", f"dataset.root={folder}", *own, *PARTS[part], *more]


def run(words: list[str]) -> dict[str, Any]:
    """Runs and returns what `results.json` holds."""
    print("python run.py", shlex.join(words), flush=True)
    done = subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    place = done.stdout.rsplit("results: ", 1)[1].strip()
    results: dict[str, Any] = json.loads((ROOT / place).read_text())
    return results


def frozen(words: list[str], results: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: nothing that differs from machine to machine."""
    shown = [word for word in words if not word.startswith(("dataset.root=", "store=", "trainer"))]
    environment = results["environment"]
    checks = {name: {k: v for k, v in results[name].items() if k != "members"} for name in ("teacher", "prior")}
    entries = [{key: entry[key] for key in KEPT} for entry in results["results"]]
    commit = {"commit": environment["commit"], "modified": environment["modified"]}
    return {"command": shown, **commit, **checks, "results": entries}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="CIFAR-10 as published, or as class folders in train/ and test/")
    parser.add_argument("parts", nargs="*", default=["main"], choices=[*PARTS, "main"])
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--to", type=Path, default=HERE)
    arguments, more = parser.parse_known_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        for ipc in arguments.ipc:
            words = command(arguments.folder.resolve(), part, ipc, arguments.seeds, more)
            text = json.dumps(frozen(words, run(words)), indent=1)
            (arguments.to / f"{part}_ipc{ipc}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
