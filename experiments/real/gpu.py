"""What a GPU adds to the study, in ten minutes of it: `python experiments/real/gpu.py <folder> <out> [--small]`.

A larger prior for CIFAR-10, ResNet-18 at IPC 10 with five seeds, selected by that prior, and how near the UNet of
Stable Diffusion 1.5, compiled or not, comes to the rate of a matrix product. Each part ends at its limit and leaves
what it has in <out> (the last one in experiments/full_size/gpu.json); a prior and a table that are there are not made
again. `--small` tries these two on a processor.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SMALL = [
    "protocol.epochs=1",
    "compare=[]",
    "scoring.check_prior=false",
    "teacher.check=false",
]


def parts(folder: Path, out: Path, small: bool) -> dict[str, tuple[list[str], int]]:
    """The commands after `python`, each with its limit in seconds, by what they leave in <out>."""
    prior, store = out / "prior", f"store={out / 'store'}"
    larger = ["--channels", "8", "16", "32"] if small else ["--channels", "64", "128", "192", "--device", "cuda"]
    steps = ["--steps", *(("2", "2") if small else ("6000", "2500"))]
    study = ["resnet18", "--ipc", "1" if small else "10", "--seeds", "1" if small else "5", "--to", str(out)]
    settings = [f"backbone.path={prior}", store, *(SMALL if small else ["trainer=gpu"])]
    found = {
        "prior/unet/config.json": ([str(HERE / "prior.py"), str(folder), str(prior), *steps, *larger], 240),
        f"resnet18_ipc{study[2]}.json": ([str(HERE / "study.py"), str(folder), *study, *settings], 270),
    }
    unet = [str(HERE.parent / "full_size" / "gpu.py"), str(out), "of_matmul"]
    return found if small else found | {"unet": (unet, 90)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="CIFAR-10 as class folders in train/ and test/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (command, limit) in parts(arguments.folder.resolve(), arguments.out.resolve(), arguments.small).items():
        if not (arguments.out / name).exists():
            try:
                subprocess.run([sys.executable, *command], check=True, timeout=limit)
            except subprocess.SubprocessError as error:
                print(f"{name}: {error}", flush=True)


if __name__ == "__main__":
    main()
