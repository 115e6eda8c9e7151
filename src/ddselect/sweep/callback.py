"""Hydra's word to the process of the command that a sweep begins."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

INTERRUPTED = "interrupted"  # a file in the sweep's folder: no job may start or go on
sweep_folder: Path | None = None  # of the sweep that this process leads; workers of launchers lead none


class MarkSweep(Callback):
    """Notes where a sweep puts its jobs, and lets a search look for the highest objective, which is an accuracy."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        global sweep_folder
        sweep_folder = Path(str(config.hydra.sweep.dir)).absolute()
        (sweep_folder / INTERRUPTED).unlink(missing_ok=True)
        if "direction" not in config.hydra.sweeper:
            return
        if not any(word.startswith("hydra.sweeper.direction=") for word in config.hydra.overrides.hydra):
            config.hydra.sweeper.direction = "maximize"  # the sweeper's own choice is to minimize
        if config.evaluation.split == "test":
            line = "tuning on the test images leaves none to test what is found; evaluation.split=val tunes on others"
            print(line, file=sys.stderr, flush=True)
