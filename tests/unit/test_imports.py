"""Mistakes and finished work are answered without waiting for libraries that nothing needs then."""

import subprocess
import sys

HEAVY = (
    "diffusers",
    "matplotlib",
    "pytorch_lightning",
    "sklearn",
    "timm",
    "torchmetrics",
    "torchvision",
    "transformers",
    "wandb",
)


def test_the_pipeline_and_every_setting_load_without_the_heavy_libraries() -> None:
    program = f"import ddselect.cli, ddselect.pipeline, sys; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_itself_loads_nothing_and_says_what_it_offers() -> None:
    heavy, offered = "{'torch', 'hydra', 'omegaconf'}", "{'run', 'score', 'select'}"
    program = f"import ddselect, sys; print({heavy} & {{*sys.modules}}, {offered} - {{*dir(ddselect)}})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set() set()"
