"""Photographs of differing sizes and shapes through every stage, by the README's commands for one's own images.

    python experiments/photographs/run.py

Three real photographs come with scikit-learn and matplotlib: a temple, a flower and a portrait. Windows of them of many
sizes and aspect ratios, scaled to up to 4000 pixels, some turned by EXIF, make three class folders in a temporary
folder. Writes results.json beside this file.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_json

HERE, PER_CLASS = Path(__file__).parent, 40
PHOTOGRAPHS = {
    "temple": files("sklearn.datasets") / "images" / "china.jpg",
    "flower": files("sklearn.datasets") / "images" / "flower.jpg",
    "portrait": files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg",
}
FOLDER = ("dataset=imagefolder", "dataset.root=photos", "dataset.holdout=0.2")
RUN = (
    *(*FOLDER, "backbone=class_unet", "backbone/adapt=scratch", "backbone.adapt.steps=300"),
    *("teacher=trained", "teacher.recipe.steps=300", "protocol=rded", "ipc=2"),
)
COMMANDS = ((*FOLDER, "stages=[index]"), RUN)


def write_photographs(root: Path) -> dict[str, object]:
    """Class folders of windows; returns their number, and the smallest and largest sides in pixels."""
    random, sides = np.random.default_rng(0), []
    for name, source in PHOTOGRAPHS.items():
        (root / name).mkdir(parents=True)
        with Image.open(str(source)) as image:
            whole = image.convert("RGB")
        for number in range(PER_CLASS):
            width, height = (int(side * random.uniform(0.4, 1.0)) for side in whole.size)
            x, y = int(random.integers(0, whole.width - width + 1)), int(random.integers(0, whole.height - height + 1))
            scale = float(np.exp(random.uniform(np.log(100), np.log(4000)))) / max(width, height)
            size = (max(64, round(width * scale)), max(64, round(height * scale)))
            picture = whole.crop((x, y, x + width, y + height)).resize(size)
            exif = Image.Exif()
            exif[0x0112] = int(random.choice([1, 1, 6, 8]))
            turned = {1: 0, 6: 90, 8: -90}[exif[0x0112]]  # back by what a viewer will turn it
            picture.rotate(turned, expand=True).save(root / name / f"{number:03d}.jpg", quality=90, exif=exif)
            sides += size
    return {"images": PER_CLASS * len(PHOTOGRAPHS), "smallest_side": min(sides), "largest_side": max(sides)}


def main() -> None:
    """Writes the photographs, runs the commands and notes what they took."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        found = write_photographs(place / "photos")
        for words in COMMANDS:
            start = time.monotonic()
            subprocess.run([sys.executable, "-m", "ddselect", *words, "hydra.run.dir=run"], cwd=place, check=True)
            rows.append({"command": " ".join(("python run.py", *words)), "seconds": round(time.monotonic() - start, 1)})
        content = json.loads((place / "run" / "results.json").read_text())
    entry = content["results"][0]
    results = {
        "photographs": found,
        "rows": rows,
        "teacher_top1": round(content["teacher"]["top1"], 1),
        "top1": round(entry["top1_last"], 1),
        "test_images": entry["test_images"],
        "distilled_images": entry["training_images"],
        "stages": {name: round(seconds, 1) for name, seconds in entry["seconds"].items()},
        "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        "environment": capture_environment(),
    }
    write_json(HERE / "results.json", results)
    print(json.dumps({**results, "environment": "..."}, indent=2))


if __name__ == "__main__":
    main()
