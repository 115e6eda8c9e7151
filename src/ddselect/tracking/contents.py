"""What each stage shows, read from the files that it left: the same whether it was computed now or before."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc
import wandb

from ddselect.backbone.adaptation import LOSSES
from ddselect.composition.distilled import read_metadata
from ddselect.config import Experiment
from ddselect.dataset.index import Index, read_index
from ddselect.evaluation.confusion import read_confusion
from ddselect.prompt.conditions import read_prompts
from ddselect.runtime.store import Stage, StageResult
from ddselect.scoring.table import read_scores
from ddselect.selection.table import read_selection
from ddselect.tracking.pictures import distilled_images, heat_maps, picked_patches
from ddselect.tracking.tables import class_table, cluster_table, confusion_of, table_of

Row = dict[str, Any]  # values by name, or a point of a curve with its ``step``
_BINS = 64


@dataclass(frozen=True)
class Finished:
    """A finished stage with all that tells what it is.

    Attributes:
        stage: The stage.
        done: Its result.
        experiment: What it is part of.
    """

    stage: Stage
    done: StageResult
    experiment: Experiment

    def before(self, name: str) -> StageResult:
        """One of the stages that it reads."""
        return next(done for done in self.stage.after if done.name == name)

    @cached_property
    def images(self) -> Index:
        """The training images that are selected from, or all of them."""
        return read_index(self.stage.after[0].folder if self.stage.after else self.done.folder).split("train")

    @property
    def is_distilled(self) -> bool:
        """For a composition: whether it takes less than all images."""
        return self.done.manifest["config"]["ipc"] is not None


def contents(finished: Finished) -> Iterator[Row]:
    """Rows to log for a stage, in order; none where its facts say it all."""
    show = _OF.get(finished.stage.name)
    if show:
        yield from show(finished)


def _index(f: Finished) -> Iterator[Row]:
    yield {"images_per_class": class_table(read_index(f.done.folder))}


def _prompt(f: Finished) -> Iterator[Row]:
    yield {"prompts": table_of(read_prompts(f.done.folder))}


def _pilot(f: Finished) -> Iterator[Row]:
    yield {"budgets": table_of([{**row, "band": str(row["band"])} for row in f.done.facts["rows"]])}


def _curve(f: Finished, file: str) -> Iterator[Row]:
    for line in (f.done.folder / file).read_text().splitlines():
        yield {name: value for name, value in json.loads(line).items() if name != "images"}  # the same at every point


def _backbone(f: Finished) -> Iterator[Row]:
    return _curve(f, LOSSES)


def _losses(f: Finished) -> Iterator[Row]:
    table = read_scores(f.done.folder)
    yield {
        "image_scores": _histogram(table["image_score"].to_numpy()),
        "crop_scores": _histogram(pc.list_flatten(table["scores"]).to_numpy()),
    }


def _scoring(f: Finished) -> Iterator[Row]:
    yield from _losses(f)
    yield heat_maps(f.images, f.done.folder, f.experiment.dataset.image_size)


def _composition(f: Finished) -> Iterator[Row]:
    if not f.is_distilled:
        return
    names, entries = f.images.class_names, read_metadata(f.done.folder)
    yield {
        "gallery": distilled_images(f.done.folder, entries, names),
        "patches": picked_patches(f.images, entries, f.experiment.dataset.image_size),
        "clusters": cluster_table(read_selection(f.before("selection").folder), entries, names),
    }


def _student(f: Finished) -> Iterator[Row]:
    yield from _curve(f, "metrics.jsonl")
    yield confusion_of(read_confusion(f.done.folder), f.images.class_names)


def _histogram(values: np.ndarray) -> wandb.Histogram:
    return wandb.Histogram(np_histogram=np.histogram(values, _BINS))


_OF: dict[str, Callable[[Finished], Iterator[Row]]] = {
    "index": _index,
    "prompt": _prompt,
    "pilot": _pilot,
    "backbone": _backbone,
    "losses": _losses,
    "scoring": _scoring,
    "composition": _composition,
    "student": _student,
}
