"""How the scoring stage grows, shares its work between ranks, and uses the processor.

    python experiments/scoring_cost/engine.py

Every figure is a ratio within this run, or counted; writes engine.json beside this file. About 5 minutes on 2 cores.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from ddselect.backbone.choice import ClassUNetBackbone
from ddselect.dataset.folders import ClutteredDigits
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.trainer import TrainerSettings
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import Scoring

CPU = torch.device("cpu")
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280)}


def of_matmul(threads: int = 1) -> dict[str, float]:
    """A full-size Stable Diffusion 1.5 UNet in fp32 against the rate of a large matrix product, same process."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        unet = UNet2DConditionModel(**SD15).eval().to(memory_format=torch.channels_last)
        noisy, text = torch.randn(2, 4, 64, 64), torch.randn(2, 77, 768)
        a, b = torch.randn(3072, 3072), torch.randn(3072, 3072)
        with FlopCounterMode(display=False) as counter:
            unet(noisy, torch.tensor([500, 500]), text)
        work = counter.get_total_flops()
        shares = []
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(5):
                a @ b
            product = 5 * 2 * 3072**3 / (time.perf_counter() - start)
            start = time.perf_counter()
            unet(noisy, torch.tensor([500, 500]), text)
            network = work / (time.perf_counter() - start)
            shares.append(network / product)
    return {
        "threads": threads,
        "share_of_matmul": round(float(np.median(shares)), 3),
        "gflops_matmul": round(product / 1e9, 1),
    }


def growth(root: Path) -> dict[str, float]:
    """Exponents of the scoring stage's seconds in images (500 to 4000) and in classes (10 to 1000)."""
    build_index(ClutteredDigits("cluttered_digits", 32, sizes={"train": 4000, "val": 10, "test": 10}), root / "index")
    index = read_index(root / "index").split("train")
    denoiser = ClassUNetBackbone("embedded", "embedded", 32).load(CPU)
    settings = Scoring(draws=2, antithetic=False)

    def seconds(images: Index, positive: list[int], name: str) -> float:
        start = time.perf_counter()
        score_images(images, denoiser, Conditions(positive, 10), settings, 32, TrainerSettings().parallel, root / name)
        return time.perf_counter() - start

    seconds(index.take(np.arange(200)), list(range(10)), "warm")
    counts = [500, 1000, 2000, 4000]
    mixed = np.random.default_rng(0).permutation(4000)
    by_images = [seconds(index.take(mixed[:n]), list(range(10)), f"images {n}") for n in counts]
    classes, by_classes = [10, 100, 1000], []
    for many in classes:
        labels = index.labels[:2000] % 10 + 10 * (np.arange(2000) % (many // 10))
        place = index.table.schema.get_field_index("label")
        table = index.table.slice(0, 2000).set_column(place, "label", pa.array(labels))
        names = [str(k) for k in range(many)]
        by_classes.append(
            seconds(Index(index.root, names, names, table), [k % 10 for k in range(many)], f"classes {many}")
        )
    return {
        "exponent_in_images": round(float(np.polyfit(np.log(counts), np.log(by_images), 1)[0]), 3),
        "exponent_in_classes": round(float(np.polyfit(np.log(classes), np.log(by_classes), 1)[0]), 3),
    }


def ranks(root: Path) -> dict[str, float]:
    """Images per second on one rank with one thread, and on two: between first and last shards, without the start."""
    found = {}
    for count in (1, 2):
        store = root / f"ranks {count}"
        command = [
            sys.executable, "-m", "ddselect", "until=scoring", "trainer=ddp_cpu", f"trainer.devices={count}",
            "scoring.shard_size=100", "dataset.sizes={train: 4000, val: 10, test: 10}", f"store={store}",
            f"hydra.run.dir={root}",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ends = sorted(path.stat().st_mtime for path in (store / "scoring").glob("*/shard-*.parquet"))
        found[count] = 100 * (len(ends) - 2 * count + 1) / (ends[-count] - ends[count - 1])
    rates = {f"images_per_second_{count}": round(rate, 1) for count, rate in found.items()}
    return {**rates, "speedup": round(found[2] / found[1], 2)}


def main() -> None:
    """Measures everything once."""
    with tempfile.TemporaryDirectory() as name:
        result: dict[str, Any] = {}
        for title, found in (
            ("growth", lambda: growth(Path(name))),
            ("ranks", lambda: ranks(Path(name))),
            ("stable_diffusion_15", of_matmul),
        ):
            result[title] = found()
            print(title, result[title], flush=True)
    result["environment"] = capture_environment()
    (Path(__file__).parent / "engine.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
