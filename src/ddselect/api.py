"""What the command line does, from Python: the same settings, results as objects, errors as exceptions."""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hydra import compose
from omegaconf import DictConfig, open_dict

from ddselect.composing import composing, places_of
from ddselect.composition.distilled import Distilled, read_distilled
from ddselect.config import build_experiment
from ddselect.dataset.index import Index, images_of
from ddselect.exits import interruptions
from ddselect.experiment import Experiment
from ddselect.messages import mistake
from ddselect.options import searching
from ddselect.pipeline import make
from ddselect.plan import print_plan
from ddselect.plugins import folders, named_by, packages
from ddselect.runtime.errors import UserError, full_disk_named
from ddselect.runtime.files import read_json
from ddselect.runtime.overrides import as_meant
from ddselect.runtime.own_folder import RESULTS, belongs, letting_go, take_named
from ddselect.runtime.trial import Trial
from ddselect.schema import check_options
from ddselect.scoring.maps import Maps, joined, read_shards
from ddselect.scoring.table import Crops, crops_of, read_scores
from ddselect.selection.table import read_selection


@dataclass(frozen=True)
class Scores:
    """Every image that was scored, and the crops found in it.

    Attributes:
        ids: (N,) image ids, as in the index of the images.
        labels: (N,) int64 classes.
        images: (N,) float32 score of each image, larger is better.
        crops: The crops of all images, with their boxes in the files' pixels and their scores.
    """

    ids: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    crops: Crops
    _scoring: Path = field(repr=False)

    def maps(self, ids: Sequence[str] | None = None) -> Maps:
        """The difference maps of all images, or of some, in the order of ``ids`` here: tensors (N, s, s) float32."""
        return joined([maps for _, maps in read_shards(self._scoring, None if ids is None else list(ids))])


@dataclass(frozen=True)
class Run:
    """What a run came to; its files are read when they are asked for.

    Attributes:
        folder: The run's folder, with ``results.json`` and ``report.html`` if it reached its end.
        experiment: Its settings, checked.
        trials: Every selection, seed, protocol and student, with the finished stages by name.
        results: Content of ``results.json``; empty if the report was not asked for.
    """

    folder: Path
    experiment: Experiment
    trials: list[Trial] = field(repr=False)
    results: dict[str, Any] = field(repr=False)

    def images(self) -> Index:
        """The training images that are selected from."""
        return images_of(self._first("index"))

    def scores(self) -> Scores:
        """Scores and maps of the images.

        Raises:
            UserError: The run needed none.
        """
        trial = self._first("boxes")
        table = read_scores(trial.stages["boxes"].folder)
        ids, labels, images = (table[name].to_numpy() for name in ("id", "label", "image_score"))
        return Scores(ids, labels, images, crops_of(table), trial.stages["scoring"].folder)

    def selection(self, name: str | None = None, seed: int | None = None) -> pa.Table:
        """The order of every class's crops and images: :data:`ddselect.selection.table.SCHEMA`.

        It is that of the chosen selection and the first seed, unless a name or a seed is given.

        Raises:
            UserError: The run made no such selection.
        """
        return read_selection(self._first("selection", name, seed).stages["selection"].folder)

    def distilled(self, selection: str | None = None, seed: int | None = None) -> Distilled:
        """A distilled set as a torch dataset, chosen as in :meth:`selection`.

        Raises:
            UserError: The run made no such set.
        """
        return read_distilled(self._first("composition", selection, seed).stages["composition"].folder)

    def _first(self, stage: str, selection: str | None = None, seed: int | None = None) -> Trial:
        made = [trial for trial in self.trials if stage in trial.stages]
        if not made:
            raise UserError(f"this run has no stage '{stage}'; stages=[{stage}] makes it")
        for trial in made:
            if selection in (None, trial.method.selection.name) and seed in (None, trial.seed):
                return trial
        known = "; ".join(dict.fromkeys(trial.distilled for trial in made))
        raise UserError(f"selection {selection}, seed {seed}: this run has no such {stage}; it has {known}")


def run(*settings: str) -> Run:
    """Does what ``python run.py`` does with the same settings, in this process and on one device.

    Settings are written as there: ``ddselect.run("dataset=imagefolder", "dataset.root=photos", "ipc=10")``. Finished
    stages lie in the store and are reused. With ``dry_run=true`` the plan is printed and nothing made.

    Raises:
        UserError: Something is missing or wrong that the user can mend.
    """
    settings = tuple(as_meant(settings))
    with _one_run(settings), letting_go():
        cfg, hydra, places = _composed(settings)
        check_options(settings)
        with searching(places):
            experiment = build_experiment(cfg)
            experiment = replace(experiment, store=experiment.store.absolute())  # wherever its files are read from
            if experiment.trainer.devices * experiment.trainer.nodes > 1:
                raise UserError("trainer.devices: several devices are for the command line; from Python a run has one")
            experiment.trainer.prepare(experiment.dry_run)
            if experiment.dry_run:
                print_plan(experiment)
                return Run(Path(hydra.run.dir).absolute(), experiment, [], {})
            folder = take_named(hydra, "run").absolute()
            belongs(folder, experiment.settings, "report" in experiment.stages)
            with full_disk_named(experiment.store, folder):
                trials = make(experiment, folder)
    return Run(folder, experiment, trials, read_json(folder / RESULTS) if "report" in experiment.stages else {})


def score(*settings: str) -> Scores:
    """Scores the images of a dataset, finds the best crops of each, and stops there: settings as of :func:`run`.

    Raises:
        UserError: As :func:`run`.
    """
    return run(*settings, "stages=[boxes]").scores()


def select(*settings: str) -> pa.Table:
    """Orders the crops and images of every class by the chosen selection: settings as of :func:`run`.

    Returns:
        A table of :data:`ddselect.selection.table.SCHEMA`, the best of each class and kind first.

    Raises:
        UserError: As :func:`run`.
    """
    return run(*settings, "compare=[]", "stages=[selection]").selection()


def _composed(settings: Sequence[str]) -> tuple[DictConfig, DictConfig, list[str]]:
    """The config that settings give, Hydra's own, and the further places in which it looked."""
    with searching(folders(packages(named_by(settings)))), composing():
        whole = compose("config", [*settings], return_hydra_config=True)
    cfg = whole.copy()
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, whole.hydra, places_of(whole.hydra)


@contextmanager
def _one_run(settings: Sequence[str]) -> Iterator[None]:
    """Leaves the process as it was, and makes a ``UserError`` of all that the command line says in one line."""
    arguments, threads, variables = sys.argv, torch.get_num_threads(), dict(os.environ)
    sys.argv = ["ddselect", *settings]  # what results and messages say of the command
    try:
        with warnings.catch_warnings(), torch.enable_grad(), interruptions():
            yield
    except UserError:
        raise
    except Exception as error:
        if message := mistake(error):
            raise UserError(message) from error
        raise
    finally:
        sys.argv = arguments
        os.environ.update(variables)
        torch.set_num_threads(threads)
