"""What each stage shows and keeps on W&B, read from its files: the same whether it was computed now or before."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import wandb

from ddselect.backbone.adaptation import LOSSES
from ddselect.composition.distilled import read_metadata
from ddselect.dataset.index import Index, pool_of, read_index
from ddselect.experiment import Experiment
from ddselect.prompt.conditions import read_prompts
from ddselect.runtime.files import read_text
from ddselect.runtime.store import StageResult, Task
from ddselect.scoring.table import read_scores
from ddselect.selection.table import read_selection
from ddselect.student.confusion import read_confusion
from ddselect.tracking.pictures import distilled_images, heat_maps, picked_patches
from ddselect.tracking.tables import class_table, cluster_table, confusion_of, table_of

Row = dict[str, Any]  # values by name, or a point of a curve with its ``step``
_BINS = 64
_KINDS = {"composition": "distilled-set", "relabel": "soft-labels", "student": "student"}


@dataclass(frozen=True)
class Finished:
    """A finished stage with its result and the experiment that it is part of."""

    stage: Task
    done: StageResult
    experiment: Experiment

    @cached_property
    def images(self) -> Index:
        """The training images that are selected from, or all of them."""
        index = self.before("index") or self.done
        return pool_of(index.folder, (self.before("pool") or index).folder, self.experiment.dataset.place)

    def before(self, name: str) -> StageResult | None:
        """One of the stages that it reads."""
        return next((done for done in self.stage.after if done.name == name), None)

    @property
    def is_distilled(self) -> bool:
        """For a composition: whether it takes less than all images."""
        return self.done.manifest["config"]["ipc"] is not None


def contents(f: Finished) -> Iterator[Row]:
    """Rows to log for a stage, in order; none where its facts say it all."""
    name, folder = f.stage.name, f.done.folder
    if name == "index":
        yield {"images_per_class": class_table(read_index(folder, Path()))}
    elif name == "prompt":
        yield {"prompts": table_of(read_prompts(folder))}
    elif name == "pilot":
        yield {"budgets": table_of([{**row, "band": str(row["band"])} for row in f.done.facts["rows"]])}
    elif name == "backbone":
        yield from _curve(folder / LOSSES)
    elif name in ("teacher_crops", "boxes"):
        table = read_scores(folder)
        yield {
            "image_scores": _histogram(table["image_score"].to_numpy()),
            "crop_scores": _histogram(pc.list_flatten(table["scores"]).to_numpy()),
        }
        if scoring := f.before("scoring"):
            weight, view = f.experiment.boxes.prediction_shift_weight, f.experiment.dataset.image_size
            yield heat_maps(f.images, folder, scoring.folder, weight, view)
    elif name == "composition" and f.is_distilled:
        names, entries, shown = f.images.class_names, read_metadata(folder), Row()
        if selection := f.before("selection"):  # else the set was given
            shown["patches"] = picked_patches(f.images, entries, f.experiment.dataset.image_size)
            shown["clusters"] = cluster_table(read_selection(selection.folder), entries, names)
        yield {"gallery": distilled_images(folder, entries, names), **shown}
    elif name == "student":
        yield from _curve(folder / "metrics.jsonl")
        yield confusion_of(read_confusion(folder), f.images.class_names)


def _curve(file: Path) -> Iterator[Row]:
    for line in read_text(file).splitlines():
        yield {name: value for name, value in json.loads(line).items() if name != "images"}  # the same at every point


def _histogram(values: np.ndarray) -> wandb.Histogram:
    return wandb.Histogram(np_histogram=np.histogram(values, _BINS))


def artifact_of(f: Finished, made_from: Mapping[str, str]) -> wandb.Artifact | None:
    """The folder of a finished stage as an artifact; None where it is not to be kept.

    Its files are not copied: a finished stage does not change. The set of all images is none that is distilled.
    ``made_from`` are the fingerprints of all stages before it, by name.
    """
    name, done, e = f.stage.name, f.done, f.experiment
    if name not in e.logger.artifacts or (name == "composition" and not f.is_distilled):
        return None
    text = f"{e.dataset.name}-ipc{e.ipc}-{f.stage.label}-{_KINDS[name]}"
    metadata = {key: done.manifest[key] for key in ("stage", "version", "config", "facts")}
    artifact = wandb.Artifact(
        re.sub(r"[^\w.-]", "-", text),
        _KINDS[name],
        description=f.stage.title,
        metadata={**metadata, "fingerprint": done.fingerprint, "made_from": dict(made_from)},
    )
    for file in sorted(path for path in done.folder.rglob("[!.]*") if path.is_file()):
        place = file.relative_to(done.folder).as_posix()
        artifact.add_file(str(file), place, skip_cache=True, policy="immutable")
    return artifact
