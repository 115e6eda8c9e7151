"""Hydra's word to the process of the command that a run or a sweep begins."""

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ddselect.exits import one_line_errors
from ddselect.runtime.files import write_json
from ddselect.runtime.overrides import setting
from ddselect.runtime.own_folder import RESULTS, take_named
from ddselect.runtime.ranks import find_place, rank
from ddselect.sweep.job import SWEEP

INTERRUPTED = "interrupted"  # a file in the sweep's folder: no job may start or go on
sweep_folder: Path | None = None  # of the sweep that this process leads; workers of launchers lead none


class MarkSweep(Callback):
    """Gives each run and each sweep a folder of its own, before Hydra writes to it.

    Of a sweep it notes where that puts its jobs, and lets a search look for the highest objective, which is an
    accuracy.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        find_rank(config)
        if rank() == 0:
            _take(config, "run")
        if rank() > 0 or (Path(config.hydra.run.dir) / RESULTS).exists():  # `.hydra` is there, or will be
            config.hydra.output_subdir = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        global sweep_folder
        find_rank(config)
        if rank() == 0:
            _take(config, "sweep")
            (Path(config.hydra.sweep.dir) / INTERRUPTED).unlink(missing_ok=True)
            write_json(Path(config.hydra.sweep.dir) / SWEEP, {"id": uuid4().hex})  # earlier jobs in it are not its own
        sweep_folder = Path(str(config.hydra.sweep.dir)).absolute()
        if "direction" not in config.hydra.sweeper:
            return
        if not any(word.startswith("hydra.sweeper.direction=") for word in config.hydra.overrides.hydra):
            config.hydra.sweeper.direction = "maximize"  # the sweeper's own choice is to minimize
        if config.evaluation.split == "test":
            line = "tuning on the test images leaves none to test what is found; evaluation.split=val tunes on others"
            print(line, file=sys.stderr, flush=True)


def find_rank(config: DictConfig) -> None:
    """Finds out which rank this is, before it writes anything; what is wrong with the settings is told later."""
    devices, nodes = (OmegaConf.select(config, f"trainer.{name}") for name in ("devices", "nodes"))
    if isinstance(devices, int) and isinstance(nodes, int) and devices * nodes > 1 and not config.get("dry_run"):
        with one_line_errors():  # Hydra would make a warning of an error, and go on
            find_place(devices, nodes)


def _take(config: DictConfig, kind: str) -> None:
    """Takes the folder of a run or a sweep; a name that comes from the clock may be changed for that."""
    with one_line_errors():
        place = str(take_named(config.hydra, kind))
    if place != config.hydra[kind].dir:
        config.hydra[kind].dir = place
        config.hydra.overrides.hydra.append(setting(f"hydra.{kind}.dir", place))  # from which a sweep composes its jobs
