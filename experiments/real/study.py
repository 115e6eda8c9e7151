"""The study on CIFAR-10: `python experiments/real/study.py <folder> [part ...] [--ipc 1 10 50] [--seeds 5]`.

Each part is a run of `run.py` for each IPC, printed as it starts; what the store holds is not computed again. It leaves
`<part>_ipc<IPC>.json` beside this file (or in --to): the command, the commit, and the accuracy of every student. Sets
that others made (part `public`) are named with `--given 'name=<folder>/seed{seed}/ipc{ipc}'`, one for each seed.
`python experiments/tables.py` makes the tables from these files.
"""

import argparse
import json
import re
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
RANKED = "compare=[diffusion,random_image,bps]"  # beside ddselect, under the protocols of others
KEPT = ("selection", "ipc", "protocol", "student", "seed", "top1_last", "top1_best", "training_images", "test_images")
PARTS = {  # what stands beside the dataset, IPC and seeds
    "main": [f"compare=[{','.join(RIVALS)}]"],
    "class_labels": ["protocol=hard", "compare=[diffusion,random_image,rded,herding,top_score]"],
    "resnet18": ["student=resnet18", "compare=[diffusion,random_image,rded,bps]"],
    "all": ["selection=all", "compare=[]"],
    "public": ["selection=rded_published"],  # beside our RDED, sets that the public code made, with the same teacher
    "edc": ["protocol=edc", RANKED],
    "bps": ["protocol=bps", RANKED],
}


def commands(arguments: argparse.Namespace, part: str, ipc: int, more: list[str]) -> list[list[str]]:
    """The words of each run after `python run.py`: one for all seeds, or one for each, where given sets have seeds."""
    seeds = list(range(arguments.seeds))
    found = []
    for mine in [[seed] for seed in seeds] if part == "public" else [seeds]:
        own = [f"ipc={ipc}", f"seeds={mine}".replace(" ", ""), "evaluation.quality=false", *PARTS[part]]
        if part == "public":
            named = (one.format(seed=mine[0], ipc=ipc).split("=", 1) for one in arguments.given)
            own.append(
                f"compare=[rded,{','.join(f'{{given: {{name: {name}, root: {place}}}}}' for name, place in named)}]"
            )
        found.append(["dataset=cifar10", f"dataset.root={arguments.folder.resolve()}", *own, *more])
    return found


def run(words: list[str]) -> dict[str, Any]:
    """Runs and returns what `results.json` holds."""
    print("python run.py", shlex.join(words), flush=True)
    done = subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    place = done.stdout.rsplit("results: ", 1)[1].strip()
    results: dict[str, Any] = json.loads((ROOT / place).read_text())
    return results


def frozen(words: list[str], results: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: nothing that differs from machine to machine."""
    kept = (word for word in words if not word.startswith(("dataset.root=", "store=", "trainer")))
    shown = [re.sub(r"root: [^}]*", "root: <folder>", word) for word in kept]
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
    parser.add_argument(
        "--given", action="append", default=[], help="a set that others made: name=folder with {seed} and {ipc}"
    )
    parser.add_argument("--to", type=Path, default=HERE)
    arguments, more = parser.parse_known_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        for ipc in arguments.ipc:
            runs = [frozen(words, run(words)) for words in commands(arguments, part, ipc, more)]
            whole = runs[-1] | {"results": [entry for one in runs for entry in one["results"]]}
            (arguments.to / f"{part}_ipc{ipc}.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
