"""``results.json``: what a run found, in a documented and versioned form."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ddselect.composition.distilled import DISTILLED
from ddselect.config import Experiment
from ddselect.evaluation.branch import Trial
from ddselect.evaluation.published import published
from ddselect.evaluation.quality import quality_of
from ddselect.evaluation.twins import dd_ranking
from ddselect.protocol.deviations import Case, deviations
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_json

SCHEMA_VERSION = 2


def entry(experiment: Experiment, trained: Trial, folder: Path) -> dict[str, Any]:
    """One entry of ``results``: accuracies in percent, what each stage took when it was computed, and where sets lie.

    Args:
        experiment: What was run.
        trained: The student.
        folder: The run's folder, from which the places of the distilled set and its labels are told.
    """
    e, facts, stages = experiment, trained.training.facts, trained.stages
    labels = stages.get("relabel")
    return {
        "dataset": e.dataset.name,
        "backbone": e.backbone.name,
        "prompt": e.prompt.mode,
        "pool": e.pool.name if "pool" in stages else "real",
        "selection": trained.arm.selection.name,
        "composition": {name: getattr(trained.arm.composition, name) for name in ("factor", "whole", "mix_classes")},
        "ipc": e.ipc if trained.arm.selection.limit else None,
        "protocol": trained.protocol.name,
        "student": trained.student.name,
        "seed": trained.seed,
        "top1_last": facts["top1_last"],
        "top1_best": facts["top1_best"],
        "top5_last": facts["top5_last"],
        "top5_best": facts["top5_best"],
        "test_images": facts["test_images"],
        "training_images": facts["training_images"],
        "steps": facts["steps"],
        "batch_size": facts["batch_size"],
        "image_bytes": stages["composition"].facts["image_bytes"],
        "label_bytes": labels.facts["label_bytes"] if labels else 0,
        "distilled": _from(folder, stages["composition"].folder / DISTILLED),
        "labels": _from(folder, labels.folder) if labels else None,
        "seconds": {name: done.seconds for name, done in stages.items()},
        "bytes": {name: done.bytes for name, done in stages.items()},
        "peak_bytes": {name: done.peak_bytes for name, done in stages.items()},
        "gpu_peak_bytes": {name: done.gpu_peak_bytes for name, done in stages.items()},
        "reused": {name: done.reused for name, done in stages.items()},
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
    rows = []
    for (selection, protocol, student), items in groups.items():
        last = [item["top1_last"] for item in items]
        text = composition_text(**items[0]["composition"])
        rows.append(
            Row(
                selection,
                protocol,
                student,
                text,
                items[0]["training_images"],
                len(items),
                mean(last),
                stdev(last) if len(last) > 1 else None,
                mean(item["top1_best"] for item in items),
                mean(item["top5_last"] for item in items),
            )
        )
    return rows


def write_results(
    experiment: Experiment,
    trained: list[Trial],
    teacher: dict[str, Any],
    localisation: dict[str, Any] | None,
    path: Path,
) -> dict[str, Any]:
    """Writes ``results.json`` (see ``docs/results.md``) and returns its content."""
    e = experiment
    classes, composition = int(trained[0].stages["index"].facts["classes"]), e.arms[0].composition
    case = Case(e.ipc, classes, e.dataset.image_size, composition.factor, e.student)
    protocols = {item.protocol.name: item.protocol for item in trained}
    asked_for = [protocol.name for protocol in e.protocols]
    twins = [entry(e, item, path.parent) for item in trained if item.protocol.name not in asked_for]
    content = {
        "schema_version": SCHEMA_VERSION,
        "results": [entry(e, item, path.parent) for item in trained if item.protocol.name in asked_for],
        "dd_ranking": {"scores": dd_ranking(e, trained), "students": twins} if e.evaluation.dd_ranking else None,
        "deviations": {name: deviations(protocol, case) for name, protocol in protocols.items()},
        "published": [
            row
            for student in e.students
            for row in published(e.dataset.name, e.protocol.labels, student.architecture, e.ipc)
        ],
        "teacher": {"name": e.teacher.name, **teacher},
        "localisation": localisation,
        "environment": capture_environment(),
        "config": e.config,
    }
    write_json(path, content)
    return content
