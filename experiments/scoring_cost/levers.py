"""What each way of scoring cheaper costs in fidelity, on the embedded dataset with the embedded prior.

    python experiments/scoring_cost/levers.py [images] [reference draws]

Two references of 100 unpaired draws are the yardstick; writes levers.json beside this file.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ddselect.backbone.choice import ClassUNetConfig
from ddselect.boxes.search import search_boxes
from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.folders import ClutteredDigitsConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.evaluation.localisation import measure_localisation
from ddselect.pilot.fidelity import agreement
from ddselect.pilot.trial import mean_agreement
from ddselect.prompt.modes import LabelPromptConfig
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_table
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig
from ddselect.scoring.table import MERGED, read_scores

CPU, VIEW = torch.device("cpu"), 32
PLAIN = ScoringConfig(draws=100, antithetic=False, band=[0.1, 0.7], cross_draw_weight=0.0)
DEFAULT = ScoringConfig()
UNPAIRED = replace(DEFAULT, draws=3, antithetic=False, cross_draw_weight=0.0)
BEST = replace(PLAIN, draws=12, antithetic=True)
HALF = replace(BEST, cross_draw_weight=0.5)
SHIFT = BoxesConfig().prediction_shift_weight  # what boxes are placed by beside the difference; 0 for this alone
LEVERS = {
    "12 draws, stratified": (replace(PLAIN, draws=12), 0.0),
    "+ antithetic": (BEST, 0.0),
    "+ placed by the prediction shift too": (BEST, SHIFT),
    f"+ band {DEFAULT.band}": (replace(BEST, band=DEFAULT.band), SHIFT),
    "24 draws": (replace(BEST, draws=24), SHIFT),
    "24 draws, not placed by the shift": (replace(BEST, draws=24), 0.0),
    "12 draws, not antithetic, half cross terms, not placed by the shift": (replace(HALF, antithetic=False), 0.0),
    "12 draws, half cross terms, not placed by the shift": (HALF, 0.0),
    "12 draws, half cross terms": (HALF, SHIFT),
    "16 draws, half cross terms, not placed by the shift": (replace(HALF, draws=16), 0.0),
    "20 draws, half cross terms, not placed by the shift": (replace(HALF, draws=20), 0.0),
    "24 draws, a third cross terms, not placed by the shift": (replace(BEST, draws=24, cross_draw_weight=1 / 3), 0.0),
    "24 draws, half cross terms, not placed by the shift": (replace(HALF, draws=24), 0.0),
    "8 draws, half cross terms, not placed by the shift": (replace(HALF, draws=8), 0.0),
    "8 draws": (replace(BEST, draws=8), SHIFT),
    "4 draws": (replace(BEST, draws=4), SHIFT),
    "4 draws, half cross terms": (replace(HALF, draws=4), SHIFT),
    "4 draws, band of the default, half cross terms: the default": (DEFAULT, SHIFT),
    "4 draws, band of the default": (replace(DEFAULT, cross_draw_weight=0.0), SHIFT),
    "3 draws, not antithetic, band of the default": (UNPAIRED, SHIFT),
    "3 draws, not antithetic, band of the default, half cross terms": (replace(UNPAIRED, cross_draw_weight=0.5), SHIFT),
    "3 draws, not antithetic, band of the default, not placed by the shift": (UNPAIRED, 0.0),
    "2 draws, not antithetic, band of the default": (replace(UNPAIRED, draws=2), SHIFT),
    "2 draws, antithetic, band of the default": (replace(UNPAIRED, draws=2, antithetic=True), SHIFT),
}
FIRST, MORE, KEPT = 4, 16, 0.5  # successive halving: draws for all, further draws, for which share of a class
REPEATS = 3  # of it, and of plain scoring at its cost


def halved(index: Index, first: Path, more: Path, folder: Path) -> None:
    """The scores of halving: the better part of each class has the draws of both folders, the rest of one only.

    Boxes are those of the first draws, scores the means of all of an image's.
    """
    one, other = read_scores(first), read_scores(more)
    scores, further = (np.array([row[0] for row in table["scores"].to_pylist()]) for table in (one, other))
    whole, whole_further = (table["image_score"].to_numpy() for table in (one, other))
    kept = np.zeros(len(one), dtype=bool)
    for label in np.unique(index.labels):
        mine = np.flatnonzero(index.labels == label)
        kept[mine[np.argsort(-scores[mine], kind="stable")][: round(KEPT * len(mine))]] = True

    def combined(mean: np.ndarray, others: np.ndarray) -> np.ndarray:
        # those that are out of the race stay behind all others
        return np.where(kept, (FIRST * mean + MORE * others) / (FIRST + MORE), mean - 1e3)

    crops = pa.array([[score] for score in combined(scores, further).tolist()], pa.list_(pa.float32()))
    boxes = [b if k else a for a, b, k in zip(*(t["boxes"].to_pylist() for t in (one, other)), kept, strict=True)]
    table = one.set_column(one.schema.get_field_index("scores"), "scores", crops)
    table = table.set_column(table.schema.get_field_index("image_score"), "image_score",
                             pa.array(combined(whole, whole_further), pa.float32()))  # fmt: skip
    table = table.set_column(table.schema.get_field_index("boxes"), "boxes", pa.array(boxes, pa.list_(pa.int32())))
    folder.mkdir()
    write_table(folder / MERGED, table)


def main(images: int, draws: int) -> None:
    """Scores the same images in every way and compares each with both references."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build_index(
            ClutteredDigitsConfig("cluttered_digits", VIEW, sizes={"train": images, "val": 10, "test": 10}), root / "i"
        )
        index = read_index(root / "i", root).split("train")
        backbone = ClassUNetConfig("embedded", "embedded", VIEW)
        denoiser = backbone.load(CPU)
        conditions = backbone.conditions(LabelPromptConfig(), index.class_names, index.class_folders, CPU)

        def score(settings: ScoringConfig, shift: float, place: Path) -> Path:
            print(place.name, flush=True)
            score_images(index, denoiser, conditions, settings, VIEW, TrainerConfig().parallel, place)
            search_boxes(index, place, BoxesConfig(prediction_shift_weight=shift), place)
            return place

        references = [score(replace(PLAIN, draws=draws, seed=seed), 0.0, root / f"reference {seed}") for seed in (1, 2)]
        ceiling = agreement(*references)
        places = {title: (lever[0].draws, score(*lever, root / title)) for title, lever in LEVERS.items()}
        equal = round(FIRST + KEPT * MORE)
        for seed in range(10, 10 + REPEATS):
            plain = replace(BEST, seed=seed)
            begin = score(replace(plain, draws=FIRST), SHIFT, root / f"first {seed}")
            more = score(replace(plain, draws=MORE, seed=seed + 10), SHIFT, root / f"more {seed}")
            title = f"halving, seed {seed}: {FIRST} draws for all, {MORE} more for {KEPT:.0%}"
            halved(index, begin, more, root / title)
            places[title] = (equal, root / title)
            title = f"plain, seed {seed}: {equal} draws for all"
            places[title] = (equal, score(replace(plain, draws=equal), SHIFT, root / title))
        rows = []
        for title, (count, place) in places.items():
            found = mean_agreement([agreement(reference, place) for reference in references]).relative_to(ceiling)
            row = {"scoring": title, "evaluations": 2 * count, "share_of_reference": round(count / draws, 4)}
            row.update({name: round(value, 3) for name, value in vars(found).items()})
            if not title.startswith("halving"):
                shift = LEVERS[title][1] if title in LEVERS else SHIFT
                row["localisation"] = measure_localisation(index, place, place, shift, VIEW)
            rows.append(row)
            print(row, flush=True)
        result = {
            "images": images,
            "reference_draws": draws,
            "ceiling": {name: round(value, 4) for name, value in vars(ceiling).items()},
            "reference_localisation": measure_localisation(index, *references[:1] * 2, 0.0, VIEW),
            "rows": rows,
            "environment": capture_environment(),
        }
    (Path(__file__).parent / "levers.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 100)
