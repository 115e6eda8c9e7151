"""``results.json``: what a run found, in a documented and versioned form."""

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from omegaconf import OmegaConf

from ddselect.composition.distilled import DISTILLED
from ddselect.evaluation.deviations import Case, deviations
from ddselect.evaluation.quality import quality_of
from ddselect.evaluation.twins import dd_ranking
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_json
from ddselect.runtime.trial import Trial

SCHEMA_VERSION = 2
_TABLE = Path(__file__).with_name("published.yaml")  # what others have published, shown beside a run's own numbers
_FACTS = (
    *("top1_last", "top1_best", "top5_last", "top5_best", "calibration_error"),
    *("test_images", "training_images", "steps", "batch_size"),
)
_COSTS = ("seconds", "bytes", "peak_bytes", "gpu_peak_bytes", "reused")  # of stages, when they were computed


def entry(experiment: Any, trained: Trial, folder: Path) -> dict[str, Any]:
    """One entry of ``results``: accuracies in percent, what each stage took when it was computed, and where sets lie.

    Places are told from the run's folder.
    """
    e, facts, stages = experiment, trained.training.facts, trained.stages
    labels = stages.get("relabel")
    return {
        "dataset": e.dataset.name,
        "backbone": e.backbone.name,
        "prompt": e.prompt.mode,
        "pool": e.pool.name if "pool" in stages else "real",
        "selection": trained.method.selection.name,
        "composition": {name: getattr(trained.method.composition, name) for name in ("factor", "whole", "mix_classes")},
        "ipc": e.ipc if trained.method.selection.limit else None,
        "protocol": trained.protocol.name,
        "student": trained.student.name,
        "seed": trained.seed,
        **{name: facts[name] for name in _FACTS},
        "image_bytes": stages["composition"].facts["image_bytes"],
        "label_bytes": labels.facts["label_bytes"] if labels else 0,
        "distilled": _from(folder, stages["composition"].folder / DISTILLED),
        "labels": _from(folder, labels.folder) if labels else None,
        **{key: {name: getattr(done, key) for name, done in stages.items()} for key in _COSTS},
        "fingerprints": {name: done.fingerprint for name, done in stages.items()},
        **quality_of(stages["quality"].facts if "quality" in stages else None),
    }


def _from(folder: Path, place: Path) -> str:
    """A place as a path from a folder, so that both can be moved together."""
    return Path(os.path.relpath(place, folder)).as_posix()


@dataclass(frozen=True)
class Row:
    """A line of the comparison: accuracies in percent, mean and sample standard deviation over seeds (None for one)."""

    selection: str
    protocol: str
    student: str
    composition: str
    images: int
    seeds: int
    top1: float
    top1_std: float | None
    top1_best: float
    top5: float


def composition_text(factor: int, whole: float, mix_classes: bool = False) -> str:
    """What distilled images consist of, in words."""
    if whole == 1:
        return "whole images"
    crops = f"{factor} x {factor} crops{' of mixed classes' if mix_classes else ''}" if factor > 1 else "crops"
    return crops if whole == 0 else f"{1 - whole:.0%} {crops}, {whole:.0%} whole"


def comparison(entries: list[dict[str, Any]]) -> list[Row]:
    """Rows over seeds, one for each selection, protocol and student, in the order in which these first appear."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for item in entries:
        groups[item["selection"], item["protocol"], item["student"]].append(item)
    return [
        Row(
            *key,
            composition_text(**items[0]["composition"]),
            items[0]["training_images"],
            len(items),
            mean(item["top1_last"] for item in items),
            stdev(item["top1_last"] for item in items) if len(items) > 1 else None,
            mean(item["top1_best"] for item in items),
            mean(item["top5_last"] for item in items),
        )
        for key, items in groups.items()
    ]


@cache
def _table() -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(_TABLE))  # type: ignore[return-value]


def published(dataset: str, labels: str, architecture: str, ipc: int) -> list[dict[str, Any]]:
    """Published results of one setting: ``method``, ``student`` and ``top1`` in percent, the highest first.

    Returns:
        Nothing for a setting of which no result is known. Each number was found under the protocol of its own paper.
    """
    methods = _table().get(dataset, {}).get(labels, {}).get(architecture, {})
    known = [{"method": name, "student": architecture, "top1": found.get(ipc)} for name, found in methods.items()]
    return sorted((row for row in known if row["top1"] is not None), key=lambda row: -row["top1"])


def _check(trained: list[Trial], stage: str) -> dict[str, Any]:
    """What a check found; nothing where the run did not make it."""
    return next((dict(trial.stages[stage].facts) for trial in trained if stage in trial.stages), {})


def write_results(
    experiment: Any,
    trained: list[Trial],
    localisation: dict[str, Any] | None,
    path: Path,
) -> dict[str, Any]:
    """Writes ``results.json`` (see ``docs/reference/results.md``) and returns its content."""
    e = experiment
    classes, composition = int(trained[0].stages["index"].facts["classes"]), e.methods[0].composition
    case = Case(e.ipc, classes, e.dataset.image_size, composition.factor, e.student)
    protocols = {item.protocol.name: item.protocol for item in trained}
    asked_for = [protocol.name for protocol in e.protocols]
    twins = [entry(e, item, path.parent) for item in trained if item.protocol.name not in asked_for]
    content = {
        "schema_version": SCHEMA_VERSION,
        "results": [entry(e, item, path.parent) for item in trained if item.protocol.name in asked_for],
        "dd_ranking": {"scores": dd_ranking(e, trained), "students": twins} if e.evaluation.dd_ranking else None,
        "deviations": {
            name: [*deviations(protocol, e.presets, case), *e.relabel.deviations(protocol.labels)]
            for name, protocol in protocols.items()
        },
        "published": [
            row
            for student in e.students
            for row in published(e.dataset.name, e.protocol.labels, student.architecture, e.ipc)
        ],
        "teacher": {"name": e.teacher.name, **_check(trained, "teacher_check")},
        "prior": {"name": e.backbone.name, **_check(trained, "prior_check")},
        "localisation": localisation,
        "environment": capture_environment(),
        "config": e.config,
    }
    write_json(path, content)
    return content
