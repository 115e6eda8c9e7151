"""How fast the scoring stage is: the whole stage from PNG files to shards, in variants, within one run.

    python experiments/scoring_speed/bench.py [images]

Writes results.json beside this file. Rates depend on the machine; the ratios are the finding.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from ddselect.backbone.choice import ClassUNetConfig
from ddselect.boxes.search import search_boxes
from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.folders import ClutteredDigitsConfig
from ddselect.dataset.index import build_index, read_index
from ddselect.evaluation.localisation import measure_localisation
from ddselect.prompt.modes import LabelPromptConfig
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig

CPU = torch.device("cpu")
VARIANTS: dict[str, tuple[str, dict[str, int]]] = {
    "one image at a time, fp32": ("fp32", {"batch_size": 1}),
    "batch 64, fp32": ("fp32", {"batch_size": 64}),
    "default": ("auto", {}),
}


def main(images: int) -> None:
    """Times each variant on the same images; the default one last, with its localisation."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        dataset = ClutteredDigitsConfig("cluttered_digits", 32, sizes={"train": images, "val": 10, "test": 10})
        build_index(dataset, root / "index")
        index = read_index(root / "index", root).split("train")
        for number, (title, (dtype, options)) in enumerate(VARIANTS.items()):
            backbone = ClassUNetConfig("embedded", "embedded", 32, dtype)
            denoiser = backbone.load(CPU)
            conditions = backbone.conditions(LabelPromptConfig(), index.class_names, index.class_folders, CPU)
            folder = root / f"scores{number}"
            start = time.perf_counter()
            score_images(index, denoiser, conditions, ScoringConfig(**options), 32, TrainerConfig().parallel, folder)
            seconds = time.perf_counter() - start
            rows.append({"variant": title, "dtype": backbone.dtype, "images_per_second": round(images / seconds, 1)})
            rows[-1]["ratio"] = round(rows[-1]["images_per_second"] / rows[0]["images_per_second"], 2)
            print(rows[-1], flush=True)
        boxes = BoxesConfig()
        search_boxes(index, folder, boxes, folder)
        found = measure_localisation(index, folder, folder, boxes.prediction_shift_weight, 32)
    print(found)
    result = {"images": images, "rows": rows, "localisation": found, "environment": capture_environment()}
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
