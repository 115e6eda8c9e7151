"""What each way of scoring cheaper costs in fidelity, on the embedded dataset with the embedded prior.

    python experiments/scoring_cost/levers.py [images] [reference draws]

Two references of 100 independent draws are the yardstick; writes levers.json beside this file.
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
from ddselect.dataset.folders import ClutteredDigitsConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.evaluation.localisation import measure_localisation
from ddselect.pilot.fidelity import agreement
from ddselect.pilot.stage import mean_agreement
from ddselect.prompt.modes import LabelPromptConfig
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_table
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig
from ddselect.scoring.table import MERGED, read_scores

CPU, VIEW = torch.device("cpu"), 32
PLAIN = ScoringConfig(draws=100, antithetic=False, stratified=False, band=[0.1, 0.7], cross=0.0, change=0.0)
DEFAULT = ScoringConfig()
INDEPENDENT = replace(DEFAULT, draws=3, antithetic=False, cross=0.0)
BEST = replace(PLAIN, draws=12, stratified=True, antithetic=True)
LEVERS = {
    "12 independent draws": replace(PLAIN, draws=12),
    "+ stratified": replace(PLAIN, draws=12, stratified=True),
    "+ antithetic": BEST,
    "+ placed by the change too": replace(BEST, change=DEFAULT.change),
    "+ weights 1 to 2 to 1 over the band": replace(BEST, change=DEFAULT.change, weights=[1.0, 2.0, 2.0, 1.0]),
    f"+ band {DEFAULT.band}": replace(BEST, change=DEFAULT.change, band=DEFAULT.band),
    "24 draws": replace(BEST, draws=24, change=DEFAULT.change),
    "24 draws, not placed by the change": replace(BEST, draws=24),
    "12 independent draws, stratified, half cross terms, not placed by the change": replace(
        PLAIN, draws=12, stratified=True, cross=0.5
    ),
    "12 draws, half cross terms, not placed by the change": replace(BEST, cross=0.5),
    "12 draws, half cross terms": replace(BEST, cross=0.5, change=DEFAULT.change),
    "16 draws, half cross terms, not placed by the change": replace(BEST, draws=16, cross=0.5),
    "20 draws, half cross terms, not placed by the change": replace(BEST, draws=20, cross=0.5),
    "24 draws, a third cross terms, not placed by the change": replace(BEST, draws=24, cross=1 / 3),
    "24 draws, half cross terms, not placed by the change": replace(BEST, draws=24, cross=0.5),
    "8 draws, half cross terms, not placed by the change": replace(BEST, draws=8, cross=0.5),
    "8 draws": replace(BEST, draws=8, change=DEFAULT.change),
    "4 draws": replace(BEST, draws=4, change=DEFAULT.change),
    "4 draws, half cross terms": replace(BEST, draws=4, cross=0.5, change=DEFAULT.change),
    "4 draws, band of the default, half cross terms: the default": DEFAULT,
    "4 draws, band of the default": replace(DEFAULT, cross=0.0),
    "4 draws, band of the default, shared noise": replace(DEFAULT, cross=0.0, noise="shared"),
    "3 draws, not antithetic, band of the default": INDEPENDENT,
    "3 draws, not antithetic, band of the default, half cross terms": replace(INDEPENDENT, cross=0.5),
    "3 draws, not antithetic, band of the default, not placed by the change": replace(INDEPENDENT, change=0.0),
    "2 draws, not antithetic, band of the default": replace(INDEPENDENT, draws=2),
    "2 draws, antithetic, band of the default": replace(INDEPENDENT, draws=2, antithetic=True),
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
        index = read_index(root / "i").split("train")
        backbone = ClassUNetConfig("embedded", "embedded", VIEW)
        denoiser = backbone.load(CPU)
        conditions = backbone.conditions(LabelPromptConfig(), index.class_names, index.class_folders, CPU)

        def score(settings: ScoringConfig, place: Path) -> Path:
            print(place.name, flush=True)
            score_images(index, denoiser, conditions, settings, VIEW, TrainerConfig().parallel, place)
            return place

        references = [score(replace(PLAIN, draws=draws, seed=seed), root / f"reference {seed}") for seed in (1, 2)]
        ceiling = agreement(*references)
        places = {title: (settings.draws, score(settings, root / title)) for title, settings in LEVERS.items()}
        equal = round(FIRST + KEPT * MORE)
        for seed in range(10, 10 + REPEATS):
            plain = replace(BEST, change=DEFAULT.change, seed=seed)
            begin = score(replace(plain, draws=FIRST), root / f"first {seed}")
            more = score(replace(plain, draws=MORE, seed=seed + 10), root / f"more {seed}")
            title = f"halving, seed {seed}: {FIRST} draws for all, {MORE} more for {KEPT:.0%}"
            halved(index, begin, more, root / title)
            places[title] = (equal, root / title)
            title = f"plain, seed {seed}: {equal} draws for all"
            places[title] = (equal, score(replace(plain, draws=equal), root / title))
        rows = []
        for title, (count, place) in places.items():
            found = mean_agreement([agreement(reference, place) for reference in references]).relative_to(ceiling)
            row = {"scoring": title, "evaluations": 2 * count, "share_of_reference": round(count / draws, 4)}
            row.update({name: round(value, 3) for name, value in vars(found).items()})
            if not title.startswith("halving"):
                row["localisation"] = measure_localisation(index, place, VIEW)
            rows.append(row)
            print(row, flush=True)
        result = {
            "images": images,
            "reference_draws": draws,
            "ceiling": {name: round(value, 4) for name, value in vars(ceiling).items()},
            "reference_localisation": measure_localisation(index, references[0], VIEW),
            "rows": rows,
            "environment": capture_environment(),
        }
    (Path(__file__).parent / "levers.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 100)
