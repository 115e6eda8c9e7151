"""The command line: Hydra composes, each job of a sweep runs in a process of its own, a mistake is one line.

What takes seconds to import is imported where it is used, so that Ctrl-C is answered from the first moment on.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ddselect.exits import COMMAND, command, leave, nothing_begun, one_line_errors, print_anything, stopped
from ddselect.options import conf_dir, searching
from ddselect.runtime import interruption
from ddselect.runtime.errors import full_disk_named
from ddselect.runtime.overrides import as_meant, search_path
from ddselect.runtime.processes import check_current_folder, end_with_parent
from ddselect.runtime.ranks import STARTED, rank

if TYPE_CHECKING:
    from omegaconf import DictConfig


def _job(cfg: "DictConfig") -> float | None:
    """A run; or of a sweep one job, which returns what a tuner is told."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from ddselect.composing import places_of

    hydra_config = HydraConfig.get()
    settings = cast(list[str], OmegaConf.to_container(hydra_config.overrides.task))  # as given, ${...} and all
    folder = Path(hydra_config.runtime.output_dir)
    with one_line_errors(), searching(places_of(hydra_config)):
        if hydra_config.mode == RunMode.MULTIRUN:
            from ddselect.sweep.callback import find_rank
            from ddselect.sweep.process import jobs_at_once, run_job

            find_rank(cfg)  # of ranks that each run the sweep the first writes
            options, sweep = search_path(hydra_config, conf_dir()), Path(hydra_config.sweep.dir).absolute()
            return run_job(settings, folder, sweep, jobs_at_once(hydra_config), options)
        with nothing_begun():
            from ddselect.config import build_experiment
            from ddselect.pipeline import run
            from ddselect.runtime.own_folder import belongs
            from ddselect.schema import check_options

        check_options(settings)
        experiment = build_experiment(cfg)
        experiment.trainer.prepare(experiment.dry_run)
        if experiment.dry_run:
            from ddselect.plan import print_plan

            print_plan(experiment)
            return None
        if rank() == 0:
            belongs(folder, experiment.settings, "report" in experiment.stages)
        with full_disk_named(experiment.store, folder):
            made = run(experiment, folder)
        for name, place in made:
            print(f"{name}: {place}", flush=True)
    return None


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 jobs of a sweep failed, 2 a user's mistake, 130 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors while composing reach this function instead of being printed by Hydra
    interruption.listen(stopped)
    print_anything()
    if STARTED in os.environ:
        end_with_parent()
    os.environ.setdefault(COMMAND, command())
    if sys.argv[1:2] == ["export"]:
        with one_line_errors():
            with nothing_begun():
                from ddselect.export.command import export
            print(f"exported: {export(sys.argv[2:])}", flush=True)
        return
    with one_line_errors():
        check_current_folder()  # libraries that are imported next break without one
        with nothing_begun():
            import hydra

            from ddselect.composing import register
            from ddselect.plugins import folders, named_by, packages
            from ddselect.runtime.own_folder import folder_of_dry_run, letting_go
            from ddselect.runtime.targets import own_targets_alone
            from ddselect.sweep.report import report_again, reported
        if sys.argv[1:2] == ["sweep-report"]:
            report_again(sys.argv[2:])
            return
        sys.argv[1:] = as_meant(sys.argv[1:])
        register()
        where = folders(packages(named_by(sys.argv[1:])))
        with letting_go(), folder_of_dry_run(), own_targets_alone(), reported() as failed, searching(where):
            hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(_job)()
    if failed:
        leave(failed[0], 1)
