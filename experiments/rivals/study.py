"""All selections under one protocol: `python experiments/rivals/study.py [IPC ...] [protocol=<name>] [setting ...]`.

It prints and runs a command of `run.py` for each IPC and pool, on scenes that no choice was made on, and writes
<protocol>_ipc<IPC>.json beside this file; what the store holds is not computed again. `make tables` makes the tables.
Settings, such as trainer.students=2, say how it is run.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))
from freeze import frozen  # noqa: E402

OWN = "random_image,random_crop,rded,rded_published,herding,kcenter,moderate,ccs,{rded:{whole:1.0}}"
MIXED = "{rded:{mix_classes:true}}"  # RDED's crops as ddselect composes them under soft labels
POOLS = {"generated": ["selection=random_image", "compare=[ddselect]"]}


def commands(ipc: int, protocol: str) -> list[list[str]]:
    """The runs of one IPC: of real images, then of those that the prior makes."""
    common = ["run.py", "dataset.seed=37", f"protocol={protocol}", f"ipc={ipc}", "seeds=[0,1,2,3,4]"]
    rivals = OWN if protocol == "digits_hard" or ipc >= 50 else f"{OWN},{MIXED}"
    return [
        [*common, f"compare=[{rivals},all]"],
        *([*common, f"pool={pool}", *words] for pool, words in POOLS.items() if protocol != "rded"),
    ]


def main() -> None:
    """The command."""
    given = sys.argv[1:]
    budgets = [int(word) for word in given if word.isdigit()] or [1, 10, 50]
    protocol = next((word.partition("=")[2] for word in given if word.startswith("protocol=")), "digits")
    more = [word for word in given if not word.isdigit() and not word.startswith("protocol=")]
    for ipc in budgets:
        entries: list[dict[str, Any]] = []
        head: dict[str, Any] = {"commands": commands(ipc, protocol)}
        for words in commands(ipc, protocol):
            print("python", shlex.join(words), flush=True)
            done = subprocess.run(
                [sys.executable, *words, *more], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
            )
            found = json.loads((ROOT / done.stdout.rsplit("results: ", 1)[1].strip()).read_text())
            head |= {"commit": found["environment"]["commit"], "localisation": found["localisation"]}
            entries += found["results"]
        (HERE / f"{protocol}_ipc{ipc}.json").write_text(frozen(head, entries))


if __name__ == "__main__":
    main()
