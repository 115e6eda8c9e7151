"""A look-alike of ImageNet-1K through every stage, by the README's command.

    python -m experiments.imagenet_lookalike.run [images of each class] [IPC]

By default 3 and 50: a class then gives other boxes of the same images, and in the end the same ones again. To be run
from the root of a checkout. Writes the images (1000 WordNet IDs with small JPEGs, a flat validation set, the devkit), a
small Stable Diffusion 1.5 and an untrained teacher to a temporary folder, and results.json beside this file.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ddselect.dataset.classes import class_names, imagenet_classes
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_json
from tests.helpers.families import write_sd15
from tests.helpers.layouts import write_imagenet
from tests.helpers.models import write_teacher

SENTENCE = ("dataset=imagenet1k", "student=resnet101")
SMALLER = (
    *("dataset.image_size=16", "backbone=sd15", "backbone.image_size=32", "backbone.dtype=fp32", "trainer=cpu"),
    *("scoring.draws=2", "boxes.sizes=[0.25]", "boxes.per_image=4"),
    *("teacher=embedded", "teacher.check=false", "protocol.epochs=0", "protocol.steps=2", "protocol.evaluations=1"),
)


def main() -> None:
    """Writes the look-alike, runs the command, and notes what each stage took."""
    per_class, ipc = (int(word) for word in sys.argv[1:] or (3, 50))
    wnids, sentence = imagenet_classes(), (*SENTENCE, f"ipc={ipc}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_imagenet(place / "imagenet", wnids, per_class, (40, 32))
        write_sd15(place / "sd15")
        write_teacher(place / "teacher", class_names(wnids, "imagenet"))
        paths = (
            f"dataset.root={place / 'imagenet'}",
            f"backbone.path={place / 'sd15'}",
            f"teacher.path={place / 'teacher'}",
        )
        folders = (f"store={place / 'store'}", f"hydra.run.dir={place / 'run'}")
        start = time.monotonic()
        subprocess.run([sys.executable, "run.py", *sentence, *SMALLER, *paths, *folders], check=True)
        seconds = time.monotonic() - start
        manifests = [json.loads(path.read_text()) for path in (place / "store").glob("*/*/manifest.json")]
        (result,) = json.loads((place / "run" / "results.json").read_text())["results"]
    manifests.sort(key=lambda manifest: manifest["finished"])
    results = {
        "command": " ".join(("python run.py", *sentence, *SMALLER)),
        "images": {"train": per_class * len(wnids), "test": result["test_images"]},
        "distilled_images": result["training_images"],
        "stages": {manifest["stage"]: round(manifest["seconds"], 1) for manifest in manifests},
        "seconds": round(seconds, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        "environment": capture_environment(),
    }
    write_json(Path(__file__).with_name("results.json"), results)


if __name__ == "__main__":
    main()
