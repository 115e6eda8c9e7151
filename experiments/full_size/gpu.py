"""Full-size models on a GPU: how much of its matmul rate their networks reach, and how fast photographs are scored.

    python experiments/full_size/gpu.py [folder [part ...]]

The models have random weights in their published architecture and file layout (about 7 GB in a temporary folder); the
photographs are made up, 500 x 375 JPEG files. Writes gpu.json beside this file.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from score import WNIDS, write_dit, write_sd15
from torch.utils.flop_counter import FlopCounterMode

from ddselect.runtime.environment import capture_environment
from ddselect.runtime.hardware import convolution_layout

GPU = torch.device("cuda")
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280)}
IMAGES, DRAWS = 1024, 4


def seconds(call: Callable[[], object], times: int = 7) -> float:
    """Median time of a call on the GPU, after two to warm up."""
    found = []
    for number in range(times + 2):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        if number > 1:
            found.append(start.elapsed_time(end) / 1000)
    return float(np.median(found))


def of_matmul(root: Path) -> list[dict[str, Any]]:
    """The UNet of Stable Diffusion 1.5 against a large matrix product of the same process and precision."""
    rows = []
    with torch.inference_mode(), GPU:
        unet: Any = UNet2DConditionModel(**SD15).eval()
        unet = unet.to(memory_format=convolution_layout(unet))
        for name, dtype, compiled in (
            ("bf16", torch.bfloat16, False),
            ("bf16", torch.bfloat16, True),
            ("fp32", torch.float32, False),
        ):
            a, b = torch.randn(2, 8192, 8192).to(dtype)
            product = 2 * 8192**3 / seconds(partial(torch.matmul, a, b))
            for side, batch in ((32, 64), (64, 32)):
                noisy, step = torch.randn(batch, 4, side, side, dtype=dtype), torch.full((batch,), 500)
                inputs = noisy, step, torch.randn(batch, 77, 768, dtype=dtype)
                with FlopCounterMode(display=False) as counter:
                    unet.to(dtype)(*inputs)
                took = seconds(partial(torch.compile(unet) if compiled else unet, *inputs), 5)
                rate = counter.get_total_flops() / took
                rows.append(
                    {
                        "precision": name,
                        "compiled": compiled,
                        "image_side": 8 * side,
                        "batch": batch,
                        "evaluations_per_second": round(batch / took, 1),
                        "tflops": round(rate / 1e12, 1),
                        "tflops_matmul": round(product / 1e12, 1),
                        "share_of_matmul": round(rate / product, 3),
                    }
                )
    return rows


def write_photographs(root: Path) -> None:
    """Smooth noise, as large on disk as photographs of this size, in the layout of ImageNet-1K."""
    random = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("val", 2)):
        for number in range(count):
            folder = root / split / WNIDS[number % len(WNIDS)]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (75, 100, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpeg")


def scoring(root: Path) -> list[dict[str, Any]]:
    """The scoring stage of the ordinary command line: images per second between its first and its last shard."""
    torch.manual_seed(0)
    rows = []
    for option, write, side in (("sd15", write_sd15, 256), ("dit_xl_2_256", write_dit, 256)):
        write(root / option)
        store = root / f"store {option}"
        command = [
            sys.executable, "-m", "ddselect", "dataset=imagenet1k", f"dataset.root={root / 'images'}",
            "dataset.classes=any",
            f"backbone={option}", f"backbone.path={root / option}", f"backbone.image_size={side}", "prompt=label",
            f"scoring.draws={DRAWS}", "scoring.antithetic=true", "scoring.shard_size=128", "trainer=gpu",
            "stages=[scoring]", f"store={store}", f"hydra.run.dir={root / 'run'}",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ends = sorted(path.stat().st_mtime for path in store.glob("scoring/*/shard-*.parquet"))
        manifest = json.loads(next(store.glob("scoring/*/manifest.json")).read_text())
        rows.append(
            {
                "backbone": option,
                "image_side": side,
                "images": manifest["facts"]["images"],
                "network_evaluations_per_image": manifest["facts"]["network_evaluations_per_image"],
                "images_per_second": round(128 * (len(ends) - 1) / (ends[-1] - ends[0]), 1),
                "stage_seconds": manifest["seconds"],
                "gpu_peak_gib": round(manifest["gpu_peak_bytes"] / 2**30, 2),
            }
        )
    return rows


def main(place: str | None, parts: list[str]) -> None:
    """Measures some parts, or both."""
    path = Path(__file__).parent / "gpu.json"
    result: dict[str, Any] = json.loads(path.read_text()) if parts and path.exists() else {}
    with tempfile.TemporaryDirectory(dir=place) as name:
        root = Path(name)
        write_photographs(root / "images")
        for part, measure in (("of_matmul", of_matmul), ("scoring", scoring)):
            if not parts or part in parts:
                start = time.perf_counter()
                result[part] = measure(root)
                print(part, *result[part], f"{time.perf_counter() - start:.0f} s", sep="\n", flush=True)
    result["gpu"], result["environment"] = torch.cuda.get_device_name(), capture_environment()
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None, sys.argv[2:])
