"""How fast 100,000 small files are indexed, in how much memory, and how fast scoring's data path reads images.

    python experiments/indexing/bench.py [files]

The small files are 8 JPEGs of 48 pixels, copied with a number at their ends. The data path reads 500 x 375
JPEGs through the loader and the shards of the scoring stage, with a module that computes nothing; a bare loop decodes
the same images, in turn with it. Writes results.json beside this file. Rates depend on the machine.
"""

import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from ddselect.dataset import survey
from ddselect.dataset.folders import ImageFolderConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.fill import Loading, fill_shards
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.latents import Views

CLASSES, VIEW, IMAGES, ROUNDS = 100, 256, 6000, 3


def jpeg(path: Path, size: tuple[int, int], seed: int) -> bytes:
    """A JPEG of smooth colours with grain."""
    random = np.random.default_rng(seed)
    colours = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(size)
    grain = random.normal(0, 6, (size[1], size[0], 3))
    Image.fromarray((np.asarray(colours) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path.read_bytes()


def write_files(root: Path, count: int, size: tuple[int, int], classes: int) -> None:
    """Class folders of files that all differ."""
    root.mkdir(parents=True)
    kinds = [jpeg(root / "kind.jpg", size, seed) for seed in range(8)]
    (root / "kind.jpg").unlink()
    for label in range(classes):
        (root / f"class{label:03d}").mkdir()
    for number in range(count):
        data = kinds[number % 8] + number.to_bytes(4, "big")
        (root / f"class{number % classes:03d}" / f"{number:06d}.jpg").write_bytes(data)


def peak() -> float:
    """Most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def indexing(root: Path, count: int) -> dict[str, object]:
    """Rates of the first index, of one after 10 files changed, and of the look whether any did."""
    dataset = ImageFolderConfig("small", 48, root=str(root / "data"), holdout=0.2)
    rows: dict[str, object] = {"files": count, "megabytes_before": round(peak())}
    start = time.perf_counter()
    dataset.signature()
    rows["signature_seconds"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    build_index(dataset, root / "store" / "a")
    rows["seconds"] = round(time.perf_counter() - start, 1)
    rows["files_per_second"] = round(count / (time.perf_counter() - start))
    rows["megabytes_after"] = round(peak())
    rows["bytes_per_row_in_memory"] = round((peak() - float(str(rows["megabytes_before"]))) * 1e6 / count)
    for path in sorted((root / "data").glob("*/*.jpg"))[:10]:
        path.write_bytes(path.read_bytes() + b"!")
    start = time.perf_counter()
    facts = build_index(dataset, root / "store" / "b")
    rows["again_seconds"], rows["read_again"] = round(time.perf_counter() - start, 1), facts["read"]
    return rows


def threads(root: Path) -> dict[str, float]:
    """Ratios of two reading threads to one, over some of the files."""
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))[:4000]
    sources = [survey.Source(root / path) for path in files]

    def seconds(workers: int) -> float:
        start = time.perf_counter()
        with survey.ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda part: [survey._facts(s) for s in part], [sources[i::64] for i in range(64)]))
        return time.perf_counter() - start

    both = [(seconds(1), seconds(2)) for _ in range(ROUNDS)]
    return {"two_threads_to_one": round(median(one / two for one, two in both), 2)}


class Nothing(pl.LightningModule):
    """A predict step that computes nothing."""

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> list[int]:
        return batch[1].tolist()


def decode(index: Index, rows: range) -> None:
    """A bare loop."""
    torch.set_num_threads(1)
    for row in rows:
        index.read(row, VIEW)


def loading(root: Path) -> list[dict[str, object]]:
    """The data path of scoring against the bare loop, in one process and with two that read."""
    write_files(root / "photos", IMAGES, (500, 375), 2)
    build_index(ImageFolderConfig("photos", VIEW, root=str(root / "photos"), holdout=0.2), root / "store" / "photos")
    index = read_index(root / "store" / "photos", root / "photos").split("train")
    found: list[dict[str, object]] = []
    for workers in (0, 2):
        bare, path = [], []
        for number in range(ROUNDS):
            start = time.perf_counter()
            if workers:
                with ProcessPoolExecutor(workers) as pool:
                    parts = [range(k, len(index), workers) for k in range(workers)]
                    list(pool.map(decode, [index] * workers, parts))
            else:
                decode(index, range(len(index)))
            bare.append(len(index) / (time.perf_counter() - start))
            plan = ShardPlan(root / f"shards-{workers}-{number}", len(index), 2000, ".txt")
            start = time.perf_counter()
            fill_shards(
                plan,
                Nothing,
                Views(index, VIEW),
                lambda place, rows: None,
                TrainerConfig().parallel,
                Loading(64, workers),
                "loading",
            )
            path.append(len(index) / (time.perf_counter() - start))
        ratio = median(b / a for a, b in zip(bare, path, strict=True))
        found.append({"workers": workers, "bare": round(median(bare)), "data_path": round(median(path))})
        found[-1]["ratio"] = round(ratio, 3)
        print(found[-1], flush=True)
    return found


def main(count: int) -> None:
    """Measures both."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_files(root / "data", count, (48, 48), CLASSES)
        rows = indexing(root, count)
        print(rows, flush=True)
        rows |= threads(root / "data")
        loaded = loading(root)
    result = {"indexing": rows, "loading": loaded, "environment": capture_environment()}
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
