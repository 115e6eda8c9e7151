"""Full-size models on this machine: Stable Diffusion 1.5 and DiT-XL/2 with random weights score two images each.

    python experiments/full_size/score.py [folder]

The models are built from their published architecture, without any download, written in their file layout to a
temporary folder (about 7 GB) and used by the ordinary command line. Writes results.json beside this file.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from ddselect.backbone.blueprint import tokenizer_files
from ddselect.runtime.environment import capture_environment

WNIDS = ("n01440764", "n02102040")
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}


def write_sd15(folder: Path) -> None:
    """860 M parameters of UNet, 84 M of VAE, 123 M of text encoder (Rombach et al., CVPR 2022)."""
    UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280)
    ).save_pretrained(folder / "unet")
    AutoencoderKL(**VAE).save_pretrained(folder / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
        )
    ).save_pretrained(folder / "text_encoder")
    tokenizer_files(folder / "tokenizer", ["tench", "english springer"])
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def write_dit(folder: Path) -> None:
    """675 M parameters of transformer, 84 M of VAE (Peebles and Xie, ICCV 2023)."""
    DiTTransformer2DModel(
        num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28, sample_size=32,
        patch_size=2, num_embeds_ada_norm=1000, attention_bias=True, activation_fn="gelu-approximate",
        norm_type="ada_norm_zero", norm_elementwise_affine=False,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    AutoencoderKL(**VAE).save_pretrained(folder / "vae")
    DDPMScheduler(beta_schedule="linear").save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline"}))


def write_images(root: Path) -> None:
    """One photograph-sized image of noise for each of two ImageNet classes."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for wnid in WNIDS:
            (root / split / wnid).mkdir(parents=True)
            pixels = random.integers(0, 256, (400, 500, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / wnid / "0.jpeg")


def main(place: str | None) -> None:
    """Scores two images with each model, in a process of its own, and notes its peak memory."""
    rows = []
    with tempfile.TemporaryDirectory(dir=place) as name:
        root = Path(name)
        write_images(root / "images")
        torch.manual_seed(0)
        for option, write in (("sd15", write_sd15), ("dit_xl_2_256", write_dit)):
            write(root / option)
            command = [
                sys.executable, "-m", "ddselect", "dataset=imagenet1k", f"dataset.root={root / 'images'}",
                "dataset.classes=any",
                f"backbone={option}", f"backbone.path={root / option}", "prompt=label", "scoring.draws=2",
                "scoring.workers=0", "trainer=cpu", "stages=[scoring]", f"store={root / 'store'}",
                f"hydra.run.dir={root / 'run'}",
            ]  # fmt: skip
            start = time.perf_counter()
            with (root / "errors").open("w") as errors:
                child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
                _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - start
            if status:
                raise SystemExit((root / "errors").read_text())
            manifest = json.loads(next((root / "store" / "scoring").glob("*/manifest.json")).read_text())
            rows.append(
                {
                    "backbone": option,
                    "images": manifest["facts"]["images"],
                    "network_evaluations_per_image": manifest["facts"]["network_evaluations_per_image"],
                    "scoring_seconds": round(manifest["seconds"], 1),
                    "whole_run_seconds": round(seconds, 1),
                    "peak_memory_gib": round(used.ru_maxrss / 2**20, 2),
                }
            )
            print(rows[-1], flush=True)
            shutil.rmtree(root / "store" / "scoring")
    result = {"rows": rows, "environment": capture_environment()}
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
