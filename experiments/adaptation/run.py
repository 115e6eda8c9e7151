"""What adapting the prior buys: localisation on another rendering of the scenes than the prior was trained on.

    python experiments/adaptation/run.py

Writes results.json beside this file; about 12 minutes on 2 cores.
"""

import json
import subprocess
import sys
from pathlib import Path

from ddselect.dataset.index import read_index
from ddselect.evaluation.localisation import measure_localisation
from ddselect.runtime.environment import capture_environment

STEPS = 600
VARIANTS = {
    "embedded": [],
    f"embedded, adapted for {STEPS} steps": ["backbone/adapt=full", f"backbone.adapt.steps={STEPS}"],
    f"from scratch, {STEPS} steps": ["backbone/adapt=scratch", f"backbone.adapt.steps={STEPS}"],
}


def stage(until: str, *overrides: str) -> Path:
    """Runs up to a stage and returns its folder."""
    command = [sys.executable, "-m", "ddselect", *overrides, f"stages=[{until}]", "trainer.threads=1"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(ended.stdout.splitlines()[-1].partition(": ")[2])


def main() -> None:
    """Scores the bright scenes with each prior and measures how well the maps find the digit."""
    rows = []
    for title, overrides in VARIANTS.items():
        common = ["dataset.bright=true", *overrides]
        index = read_index(stage("index", *common)).split("train")
        found = measure_localisation(index, stage("scoring", *common), 32)
        assert found is not None
        rows.append({"prior": title, **found})
        print(rows[-1], flush=True)
    result = {"rows": rows, "environment": capture_environment()}
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
