"""What scoring and relabelling ImageNet-1K and ImageNet-21K would take: computed, not measured.

    python experiments/scale_plan/plan.py

FLOPs are counted on the published architecture of Stable Diffusion 1.5; rates are assumptions, named below. Writes
plan.json and the tables of README.md beside this file.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

# assumptions
RATE = 250e12  # FLOP/s that an H100 sustains on the network in bf16: a quarter of its peak of 989e12, dense
DECODED = 150  # JPEGs of ImageNet size that one processor core decodes and resizes to 256 pixels per second
CORES = 16  # per GPU, loading images
KEPT = 4300  # bytes of scores, boxes and maps of one image
EPOCHS, TWO = 300, 2  # of the stored labels; bytes of an fp16 number
FEATURES = 512  # penultimate width of a ResNet-18

DATASETS = {"ImageNet-1K": (1_281_167, 1000), "ImageNet-21K": (14_197_122, 21_841)}
REFERENCE = {"draws": 100, "size": 512, "cap": 0}
OURS = {"draws": 4, "size": 256, "cap": 300}
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280)}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}


def counted(size: int) -> tuple[float, float]:
    """FLOPs of one network evaluation and of encoding one image with Stable Diffusion 1.5 at a size in pixels."""
    with torch.device("meta"), torch.no_grad():
        unet, vae, side = UNet2DConditionModel(**SD15), AutoencoderKL(**VAE), size // 8
        with FlopCounterMode(display=False) as network:
            unet(torch.zeros(1, 4, side, side), torch.zeros(1), torch.zeros(1, 77, 768))
        with FlopCounterMode(display=False) as encoder:
            vae.encode(torch.zeros(1, 3, size, size))
    return float(network.get_total_flops()), float(encoder.get_total_flops())


def scoring(images: int, classes: int, draws: int, size: int, cap: int) -> dict[str, float]:
    """FLOPs, hours and bytes of scoring; classes of the average size (smaller ones need less)."""
    network, encoder = counted(size)
    candidates = min(images, classes * cap) if cap else images
    flop = candidates * (2 * draws * network + encoder)
    hours = flop / RATE / 3600
    return {
        "draws": draws,
        "pixels": size,
        "candidates": candidates,
        "exaflop": round(flop / 1e18, 4),
        "hours_1_gpu": round(hours, 1),
        "hours_8_gpus": round(hours / 8, 2),
        "decoding_hours_16_cores": round(candidates / DECODED / CORES / 3600, 2),
        "gib_kept": round(candidates * KEPT / 2**30, 2),
    }


def labels(classes: int, ipc: int) -> dict[str, float]:
    """GiB of stored labels of a distilled set over all epochs."""
    views = classes * ipc * EPOCHS
    return {
        "ipc": ipc,
        "gib_logits": round(views * classes * TWO / 2**30, 1),
        "gib_features": round((views + classes) * FEATURES * TWO / 2**30, 1),
    }


def main() -> None:
    """Computes everything and writes it down."""
    network = {size: counted(size) for size in (256, 512)}
    result = {
        "gflop": {
            str(size): {"network": round(n / 1e9, 1), "encoder": round(e / 1e9, 1)} for size, (n, e) in network.items()
        },
        "assumptions": {
            "flop_per_second": RATE,
            "decoded_per_core_second": DECODED,
            "cores_per_gpu": CORES,
            "bytes_kept": KEPT,
        },
        "plans": {},
    }
    lines = [
        "| dataset | scorer | images scored | 10^18 FLOP | hours, 1 H100 | hours, 8 H100 | GiB kept |",
        "|---|---|---|---|---|---|---|",
    ]
    label_lines = ["| dataset | IPC | logits, GiB | features, GiB |", "|---|---|---|---|"]
    for name, (images, classes) in DATASETS.items():
        reference, ours = scoring(images, classes, **REFERENCE), scoring(images, classes, **OURS)
        stored = [labels(classes, ipc) for ipc in (10, 50)]
        times = round(reference["exaflop"] / ours["exaflop"], 1)
        result["plans"][name] = {"reference": reference, "ours": ours, "times_fewer_flop": times, "labels": stored}
        for title, plan in (("reference", reference), ("ours", ours)):
            lines.append(
                f"| {name} | {title}: {plan['draws']} draws at {plan['pixels']} px | {plan['candidates']:,} | "
                f"{plan['exaflop']:.2f} | {plan['hours_1_gpu']:g} | {plan['hours_8_gpus']:g} | {plan['gib_kept']:g} |"
            )
        label_lines += [f"| {name} | {s['ipc']} | {s['gib_logits']:g} | {s['gib_features']:g} |" for s in stored]
    here = Path(__file__).parent
    (here / "plan.json").write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join([*lines, "", *label_lines]))


if __name__ == "__main__":
    main()
