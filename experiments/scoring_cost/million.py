"""ImageNet's size on this machine: 1.3 million rows and 1000 classes through everything but the networks.

    python experiments/scoring_cost/million.py [folder]

The index is synthetic, the prior is a stand-in that costs next to nothing, features, channel statistics and the
teacher's losses are random: what is measured is what the product adds around the networks. Every step is a process of
its own, so that its peak memory is its own.
Writes million.json beside this file; needs about 10 GB in the folder (a temporary one by default) and an hour. With
a folder of its own it goes on where it was interrupted, step by step.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import PixelSpace
from ddselect.backbone.schedule import NoiseSchedule
from ddselect.boxes.search import search_boxes
from ddselect.boxes.settings import BoxesConfig
from ddselect.dataset.index import Index, read_index
from ddselect.embed.table import KINDS, embed_shards
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import read_json, write_json, write_table, write_tensors
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.candidates import candidates
from ddselect.scoring.maps import map_shards
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig
from ddselect.selection.base import SelectionInputs
from ddselect.selection.ddselect import DDSelectConfig
from ddselect.selection.diffusion import DiffusionConfig
from ddselect.selection.table import write_selection

ROWS, CLASSES, DIMENSIONS, VIEW = 1_300_000, 1000, 768, 256


class BlankIndex(Index):
    """An index whose images need no files."""

    def read(self, row: int, size: int) -> Tensor:
        return torch.full((3, size, size), row % 256, dtype=torch.uint8)

    def take(self, rows: np.ndarray) -> Index:
        return BlankIndex(self.root, self.class_folders, self.class_names, self.table.take(pa.array(rows)))


class _NoNetwork(nn.Module):
    """Stands for a network: its prediction is what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"in_channels": 4, "block_out_channels": [1]}
        self.weight = nn.Parameter(torch.zeros(1))


class FreeDenoiser(Denoiser):
    """A stand-in with the latents of Stable Diffusion at 256 pixels, (4, 32, 32), and no cost."""

    def __init__(self) -> None:
        schedule = NoiseSchedule({"beta_schedule": "scaled_linear", "prediction_type": "epsilon"})
        super().__init__("free", _NoNetwork(), PixelSpace(1), schedule, torch.float32)

    def encode(self, images: Tensor) -> Tensor:
        return F.pad(images.float() / 255, (0, 0, 0, 0, 0, 1))

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        return noisy * (1 + 1e-4 * conditions[:, None, None, None])


def write_index(folder: Path, rows: int, classes: int = CLASSES) -> None:
    """Rows of as many images for each class, as an index of ImageNet-1K holds them."""
    per_class = rows // classes
    folders = [f"n{k:08d}" for k in range(classes)]
    paths = [f"train/{name}/{name}_{k:05d}.JPEG" for name in folders for k in range(per_class)]
    table = {
        "id": paths,
        "path": paths,
        "split": ["train"] * len(paths),
        "label": np.repeat(np.arange(classes), per_class),
        "width": np.full(len(paths), 500),
        "height": np.full(len(paths), 375),
        "bytes": np.full(len(paths), 110_000),
        "hash": [f"{k:016x}" for k in range(len(paths))],
    }
    write_table(folder / "images.parquet", pa.table(table))
    write_json(folder / "classes.json", {"root": "", "folders": folders, "names": folders})


def blank(folder: Path) -> Index:
    """The index, with images that need no files."""
    index = read_index(folder, folder).split("train")
    return BlankIndex(index.root, index.class_folders, index.class_names, index.table)


def plan(root: Path) -> None:
    """Reads the index, chooses candidates at most 300 a class, and divides all images into shards."""
    index = blank(root / "index")
    candidates(index, 300, 0)
    map_shards(root / "scores", len(index), 500).missing()


def score(root: Path) -> None:
    """Scores and finds boxes: 1 draw, maps of 32 x 32."""
    index, settings = blank(root / "index"), ScoringConfig(draws=1, antithetic=False, cross_draw_weight=0.0)
    conditions = Conditions([k % 2 for k in range(len(index.class_names))], 2)
    trainer = TrainerConfig().parallel
    score_images(index, FreeDenoiser(), conditions, settings, VIEW // 8, trainer, root / "scores")
    search_boxes(index, root / "scores", BoxesConfig(), root / "scores")


def embed(root: Path) -> None:
    """Random features, channel statistics and losses of every crop and whole image, as the stage would leave them."""
    plan, random = embed_shards(root / "embedding", len(blank(root / "index"))), np.random.default_rng(0)
    fields: dict[str, tuple[tuple[int, ...], type]] = {
        "features": ((DIMENSIONS,), np.float16),
        "loss": ((), np.float32),
        "channel_stats": ((6,), np.float16),
    }
    for shard in plan.missing():
        count, made = len(plan.range(shard)), {}
        for field, (shape, kept) in fields.items():
            for kind in KINDS:
                values = random.standard_normal((count, *shape), dtype=np.float32).astype(kept)
                made[f"{kind}.{field}"] = torch.from_numpy(values)
        write_tensors(plan.path(shard), made)


def inputs(root: Path) -> SelectionInputs:
    """What the stages left, for the selection."""
    index = blank(root / "index")
    return SelectionInputs(index, VIEW, 0, root / "scores", embed_shards(root / "embedding", len(index)))


def select(root: Path) -> None:
    """Ranks all crops and whole images of all classes by the default."""
    write_selection(root / "selection", DDSelectConfig("ddselect").rank(inputs(root)))


def cluster(root: Path) -> None:
    """Ranks them by clusters of their features."""
    write_selection(root / "clustered", DiffusionConfig("diffusion").rank(inputs(root)))


STEPS: dict[str, Callable[[Path], None]] = {
    "plan": plan,
    "score": score,
    "embed": embed,
    "select": select,
    "cluster": cluster,
}


def run_step(step: str, root: Path) -> dict[str, float]:
    """Seconds and peak memory of a step in a process of its own, unless it is done already."""
    if not (root / f"{step}.json").exists():
        subprocess.run([sys.executable, __file__, step, str(root)], check=True)
    return read_json(root / f"{step}.json")


def main(root: Path) -> None:
    """Measures the steps, and how memory and bytes grow from 1000 to 100,000 images."""
    result: dict[str, object] = {"rows": ROWS, "classes": CLASSES, "feature_dimensions": DIMENSIONS}
    result["environment"] = capture_environment()
    small = {}
    for rows in (1000, 100_000):
        if not (root / str(rows) / "index").exists():
            write_index(root / str(rows) / "index", rows)
        small[rows] = run_step("score", root / str(rows))
        small[rows]["bytes_per_image"] = (
            sum(file.stat().st_size for file in (root / str(rows) / "scores").rglob("*")) / rows
        )
    grown = (small[100_000]["peak_bytes"] - small[1000]["peak_bytes"]) / 99_000
    result["scoring"] = {
        "memory_bytes_per_image": round(grown),
        "stored_bytes_per_image": round(small[100_000]["bytes_per_image"]),
    }
    print(result["scoring"], flush=True)
    if not (root / "index").exists():
        write_index(root / "index", ROWS)
    for step in STEPS:
        found = run_step(step, root)
        if step != "embed":
            result[step] = {"seconds": round(found["seconds"], 1), "peak_gib": round(found["peak_bytes"] / 2**30, 2)}
            print(step, result[step], flush=True)
        (Path(__file__).parent / "million.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        place, start = Path(sys.argv[2]), time.perf_counter()
        STEPS[sys.argv[1]](place)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_json(place / f"{sys.argv[1]}.json", {"seconds": time.perf_counter() - start, "peak_bytes": peak})
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
