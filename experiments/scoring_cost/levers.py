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

from ddselect.backbone.choice import ClassUNetBackbone
from ddselect.dataset.folders import ClutteredDigits
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.evaluation.localisation import measure_localisation
from ddselect.pilot.fidelity import agreement
from ddselect.pilot.stage import mean_agreement
from ddselect.prompt.modes import LabelPrompt
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_table
from ddselect.runtime.trainer import TrainerSettings
from ddselect.scoring.module import score_images
from ddselect.scoring.scorer import Maps, best_boxes
from ddselect.scoring.settings import Scoring
from ddselect.scoring.table import MERGED, read_maps, read_scores

CPU, VIEW = torch.device("cpu"), 32
PLAIN = Scoring(draws=100, antithetic=False, stratified=False, band=[0.1, 0.7])
DEFAULT = Scoring()
LEVERS = {
    "12 independent draws": replace(PLAIN, draws=12),
    "+ stratified": replace(PLAIN, draws=12, stratified=True),
    "+ antithetic": replace(PLAIN, draws=12, stratified=True, antithetic=True),
    f"+ band {DEFAULT.band}": replace(DEFAULT, draws=12, antithetic=True),
    f"+ band {DEFAULT.band}, not antithetic": replace(DEFAULT, draws=12, antithetic=False),
    "all of them, 8 draws": replace(DEFAULT, draws=8, antithetic=True),
    "all of them, 6 draws": replace(DEFAULT, draws=6, antithetic=True),
    "all of them, 4 draws": replace(DEFAULT, draws=4, antithetic=True),
    "4 draws, not antithetic": replace(DEFAULT, draws=4, antithetic=False),
    "4 draws, not antithetic, shared noise": replace(DEFAULT, draws=4, antithetic=False, noise="shared"),
    "3 draws, not antithetic": replace(DEFAULT, draws=3, antithetic=False),
    "2 draws, not antithetic": replace(DEFAULT, draws=2, antithetic=False),
    "2 draws, antithetic": replace(DEFAULT, draws=2, antithetic=True),
}
FIRST, MORE, KEPT = 2, 4, 0.5  # successive halving: draws for all, further draws, for which share of a class


def halved(index: Index, first: Path, more: Path, folder: Path) -> None:
    """The scores of halving: the better part of each class has the draws of both folders, the rest of one only."""
    table, maps, further = read_scores(first), read_maps(first), read_maps(more)
    best = np.array([row[0] for row in table["scores"].to_pylist()])
    labels = index.labels
    rows = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        kept = mine[np.argsort(-best[mine], kind="stable")][: round(KEPT * len(mine))]
        for row in mine:
            image, own = index.ids[row], maps[index.ids[row]]
            plane = (FIRST * own + MORE * further[image]) / (FIRST + MORE) if row in kept else own
            mean = torch.from_numpy(plane)[None]
            side = plane.shape[0] // 2
            boxes = best_boxes(Maps(mean, mean), side, 1, DEFAULT.sigma * side)
            corner = boxes.corner[0, 0].numpy() * (VIEW // plane.shape[0])
            # those that are out of the race stay behind all others
            score = float(boxes.score[0, 0]) - (0 if row in kept else 1e3)
            rows.append(
                {
                    "id": image,
                    "label": int(label),
                    "image_score": float(plane.clip(0).mean()) - (0 if row in kept else 1e3),
                    "boxes": [*corner.tolist(), *(corner + VIEW // 2).tolist()],
                    "scores": [score],
                    "row": int(row),
                }
            )
    folder.mkdir()
    write_table(folder / MERGED, pa.Table.from_pylist(sorted(rows, key=lambda r: r["row"])))


def main(images: int, draws: int) -> None:
    """Scores the same images in every way and compares each with both references."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build_index(
            ClutteredDigits("cluttered_digits", VIEW, sizes={"train": images, "val": 10, "test": 10}), root / "i"
        )
        index = read_index(root / "i").split("train")
        backbone = ClassUNetBackbone("embedded", "embedded", VIEW)
        denoiser = backbone.load(CPU)
        conditions = backbone.conditions(LabelPrompt(), index.class_names, index.class_folders, CPU)

        def score(settings: Scoring, place: Path) -> Path:
            print(place.name, flush=True)
            score_images(index, denoiser, conditions, settings, VIEW, TrainerSettings().parallel, place)
            return place

        references = [score(replace(PLAIN, draws=draws, seed=seed), root / f"reference {seed}") for seed in (1, 2)]
        ceiling = agreement(*references)
        places = {title: (settings.draws, score(settings, root / title)) for title, settings in LEVERS.items()}
        begin = score(replace(DEFAULT, draws=FIRST, antithetic=False), root / "first")
        more = score(replace(DEFAULT, draws=MORE, antithetic=False, seed=9), root / "more")
        title = f"halving: {FIRST} draws for all, {MORE} more for {KEPT:.0%}"
        halved(index, begin, more, root / title)
        places[title] = (FIRST + KEPT * MORE, root / title)
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
