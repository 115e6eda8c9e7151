"""What adapting the prior buys: localisation with a prior of another rendering of the scenes, before and after.

    python experiments/adaptation/run.py [folder of a prior of bright scenes]

Without the folder, that prior is trained first (about 15 minutes on a core). Writes results.json beside this file.
"""

import json
import subprocess
import sys
from pathlib import Path

from ddselect.dataset.index import read_index
from ddselect.evaluation.localisation import measure_localisation
from ddselect.runtime.environment import capture_environment

STEPS = 600
BRIGHT = [
    "dataset.bright=true", "dataset.sizes.train=60000", "dataset.seed=1", "dataset.fragments=[0,2,4]",
    "backbone=class_unet", "backbone/adapt=scratch", "backbone.adapt.steps=2000",
]  # fmt: skip
VARIANTS = {
    "prior of bright scenes": [],
    f"the same, adapted to the dataset for {STEPS} steps": ["backbone/adapt=full", f"backbone.adapt.steps={STEPS}"],
    f"from scratch on the dataset, {STEPS} steps": ["backbone/adapt=scratch", f"backbone.adapt.steps={STEPS}"],
}


def stage(until: str, *overrides: str) -> Path:
    """Runs up to a stage and returns its folder."""
    command = [sys.executable, "-m", "ddselect", *overrides, f"until={until}", "trainer.threads=1"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(ended.stdout.splitlines()[-1].partition(": ")[2])


def main(prior: str | None) -> None:
    """Scores the embedded dataset (dark scenes) with each prior and measures how well the maps find the digit."""
    prior = prior or str(stage("backbone", *BRIGHT) / "model")
    rows = []
    for title, overrides in VARIANTS.items():
        common = ["backbone=class_unet", f"backbone.path={prior}", *overrides]
        index = read_index(stage("index", *common)).split("train")
        found = measure_localisation(index, stage("scoring", *common), 32)
        assert found is not None
        rows.append({"prior": title, **found})
        print(rows[-1], flush=True)
    result = {"rows": rows, "environment": capture_environment()}
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
