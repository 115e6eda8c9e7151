"""What made a result: versions, machine, code; captured once for each run."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import ddselect
from ddselect.runtime.hardware import processors

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "diffusers", "timm", "scikit-learn", "numpy")


def _git(*arguments: str) -> str | None:
    """Output of a git command on the code's own repository; None outside one."""
    root = Path(ddselect.__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def capture_environment() -> dict[str, object]:
    """Code (version, commit, whether it was changed), command, Python, packages, processor, threads and GPUs."""
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "ddselect": ddselect.__version__,
        "commit": _git("rev-parse", "HEAD"),
        "modified": None if status is None else bool(status),
        # without the folder that a sweep gives to its job: the same settings again get a new one
        "command": [word for word in sys.argv[1:] if not word.startswith("hydra.run.dir=")],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpus": processors(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
