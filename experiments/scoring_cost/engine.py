"""How the scoring stage grows, shares its work between ranks, and uses the processor.

    python experiments/scoring_cost/engine.py [part ...]

Every figure is a ratio within this run, or counted; writes engine.json beside this file. About 15 minutes on 2 cores.
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
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddselect.backbone.choice import ClassUNetConfig
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import PixelSpace
from ddselect.backbone.schedule import NoiseSchedule
from ddselect.dataset.folders import ClutteredDigitsConfig, ImageFolderConfig
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.hardware import computes_in_bf16, convolution_layout
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig

CPU = torch.device("cpu")
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280)}


def of_matmul(root: Path, threads: int = 1) -> dict[str, Any]:
    """A full-size Stable Diffusion 1.5 UNet against the rate of a large matrix product, same process and precision."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        unet = UNet2DConditionModel(**SD15).eval()
        unet = unet.to(memory_format=convolution_layout(unet))
        given = torch.randn(2, 4, 64, 64), torch.tensor([500, 500]), torch.randn(2, 77, 768)
        with FlopCounterMode(display=False) as counter:
            unet(*given)
        work = counter.get_total_flops()
        found: dict[str, Any] = {"threads": threads}
        for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
            if name == "bf16" and not computes_in_bf16():
                continue
            unet, (noisy, step, text) = unet.to(dtype), given
            a, b = torch.randn(2, 3072, 3072).to(dtype)
            noisy, text = noisy.to(dtype), text.to(dtype)
            unet(noisy, step, text)
            shares = []
            for _ in range(5):
                start = time.perf_counter()
                for _ in range(5):
                    a @ b
                product = 5 * 2 * 3072**3 / (time.perf_counter() - start)
                start = time.perf_counter()
                unet(noisy, step, text)
                shares.append(work / (time.perf_counter() - start) / product)
            found[name] = {
                "share_of_matmul": round(float(np.median(shares)), 3),
                "shares": [round(share, 3) for share in shares],
                "gflops_matmul": round(product / 1e9, 1),
            }
    return found


def growth(root: Path) -> dict[str, float]:
    """Exponents of the scoring stage's CPU seconds in images (500 to 4000) and in classes (10 to 1000)."""
    build_index(
        ClutteredDigitsConfig("cluttered_digits", 32, sizes={"train": 4000, "val": 10, "test": 10}), root / "index"
    )
    index = read_index(root / "index", root).split("train")
    denoiser = ClassUNetConfig("embedded", "embedded", 32).load(CPU)
    settings = ScoringConfig(draws=2, antithetic=False, cross_draw_weight=0.0)

    def seconds(images: Index, positive: list[int], name: str) -> float:
        start = time.process_time()
        score_images(images, denoiser, Conditions(positive, 10), settings, 32, TrainerConfig().parallel, root / name)
        return time.process_time() - start

    seconds(index.take(np.arange(200)), list(range(10)), "warm")
    counts = [500, 1000, 2000, 4000]
    mixed = np.random.default_rng(0).permutation(4000)
    rounds = [[seconds(index.take(mixed[:n]), list(range(10)), f"images {n} {k}") for n in counts] for k in range(3)]
    by_images = np.median(rounds, 0)
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


def ranks(root: Path, rounds: int = 5) -> dict[str, Any]:
    """Images per second on one rank with one thread, and on two: between first and last shards, without the start."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for count, rates in found.items():
            store = root / f"ranks {count} {number}"
            command = [
                sys.executable, "-m", "ddselect", "stages=[scoring]", "trainer=ddp_cpu", f"trainer.devices={count}",
                "scoring.shard_size=50", "dataset.sizes={train: 2000, val: 10, test: 10}", f"store={store}",
                f"hydra.run.dir={root}",
            ]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            ends = sorted(path.stat().st_mtime for path in (store / "scoring").glob("*/shard-*.parquet"))
            rates.append(50 * (len(ends) - 2 * count + 1) / (ends[-count] - ends[count - 1]))
    shown = {f"images_per_second_{count}": [round(rate, 1) for rate in rates] for count, rates in found.items()}
    return {**shown, "speedup": round(float(np.median(np.divide(found[2], found[1]))), 2)}


class FullSize(Denoiser):
    """Stable Diffusion 1.5 with random weights: its UNet and the encoder of its VAE, and the CPU seconds in them."""

    def __init__(self) -> None:
        schedule = NoiseSchedule({"beta_schedule": "scaled_linear", "prediction_type": "epsilon"})
        super().__init__("sd15", UNet2DConditionModel(**SD15), PixelSpace(8), schedule, torch.float32)
        self.vae, self.seconds = AutoencoderKL(**VAE), 0.0
        self.text = torch.randn(3, 77, 768)

    def encode(self, images: Tensor) -> Tensor:
        start = time.process_time()
        latents = self.vae.encode(images.float() / 127.5 - 1).latent_dist.mode() * 0.18215
        self.seconds += time.process_time() - start
        return latents

    def call_network(self, noisy: Tensor, time_: Tensor, conditions: Tensor) -> Tensor:
        start = time.process_time()
        output = self.network(noisy, time_, self.text[conditions]).sample
        self.seconds += time.process_time() - start
        return output


def beside_the_model(root: Path, images: int = 8, side: int = 256) -> dict[str, float]:
    """Share of the CPU time of scoring photographs that is not spent in a full-size model: one thread, 2 draws."""
    for number in range(images):
        folder = root / "photos" / "train" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    build_index(ImageFolderConfig("photos", side, root=str(root / "photos"), holdout=0.5), root / "photo index")
    index = read_index(root / "photo index", root / "photos").split("train")
    denoiser, trainer = FullSize().eval(), TrainerConfig(threads=1)
    start = time.process_time()
    score_images(
        index, denoiser, Conditions([0, 1], 2), ScoringConfig(draws=2), side, trainer.parallel, root / "photo scores"
    )
    total = time.process_time() - start
    return {
        "images": len(index),
        "cpu_seconds": round(total, 1),
        "share_beside": round(1 - denoiser.seconds / total, 4),
    }


def main(parts: list[str]) -> None:
    """Measures some parts, or all, once."""
    place = Path(__file__).parent / "engine.json"
    result: dict[str, Any] = json.loads(place.read_text()) if parts else {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part, measure in (
            ("growth", growth),
            ("ranks", ranks),
            ("stable_diffusion_15", of_matmul),
            ("beside_the_model", beside_the_model),
        ):
            if not parts or part in parts:
                result[part] = measure(root)
                print(part, result[part], flush=True)
    result["environment"] = capture_environment()
    place.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
