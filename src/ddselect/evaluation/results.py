"""``results.json``: what a run found, in a documented and versioned form."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ddselect.config import Arm, Experiment
from ddselect.evaluation.quality import quality_of
from ddselect.protocol.deviations import deviations
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.files import write_json
from ddselect.runtime.store import Done
from ddselect.student.settings import Student

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Branch:
    """One selection, seed and student on its way through the stages.

    Attributes:
        arm: Selection and composition.
        seed: Seed of the selection and the student.
        student: Whom its distilled set trains.
        stages: Stages finished so far by name, in order.
    """

    arm: Arm
    seed: int
    student: Student
    stages: dict[str, Done]

    @property
    def training(self) -> Done:
        """The student's stage, once it is trained."""
        return self.stages["student"]

    def with_stage(self, done: Done) -> "Branch":
        """This branch with one more stage finished."""
        return replace(self, stages={**self.stages, done.name: done})

    def with_student(self, student: Student) -> "Branch":
        """The same distilled set for another student."""
        return replace(self, student=student)


def entry(experiment: Experiment, trained: Branch) -> dict[str, Any]:
    """One entry of ``results``: accuracies in percent, seconds and bytes of each stage when it was computed."""
    e, facts, stages = experiment, trained.training.facts, trained.stages
    return {
        "dataset": e.dataset.name,
        "backbone": e.backbone.name,
        "prompt": e.prompt.mode,
        "selection": trained.arm.selection.name,
        "composition": {"factor": trained.arm.composition.factor, "whole": trained.arm.composition.whole},
        "ipc": e.ipc if trained.arm.selection.limit else None,
        "protocol": e.protocol.name,
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
        "seconds": {name: done.seconds for name, done in stages.items()},
        "bytes": {name: done.manifest["bytes"] for name, done in stages.items()},
        "fingerprints": {name: done.fingerprint for name, done in stages.items()},
        **quality_of(stages["quality"].facts if "quality" in stages else None),
    }


@dataclass(frozen=True)
class Row:
    """A line of the comparison: accuracies in percent, mean and sample standard deviation over seeds (None for one)."""

    selection: str
    student: str
    composition: str
    images: int
    seeds: int
    top1: float
    top1_std: float | None
    top1_best: float
    top5: float


def composition_text(factor: int, whole: float) -> str:
    """What distilled images consist of, in words."""
    if whole == 1:
        return "whole images"
    crops = f"{factor} x {factor} crops" if factor > 1 else "crops"
    return crops if whole == 0 else f"{1 - whole:.0%} {crops}, {whole:.0%} whole"


def comparison(entries: list[dict[str, Any]]) -> list[Row]:
    """Rows over seeds, one for each selection and student, in the order in which these first appear."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for item in entries:
        groups[item["selection"], item["student"]].append(item)
    rows = []
    for (selection, student), items in groups.items():
        last = [item["top1_last"] for item in items]
        text = composition_text(**items[0]["composition"])
        rows.append(
            Row(
                selection,
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
    trained: list[Branch],
    teacher: dict[str, Any],
    localisation: dict[str, Any] | None,
    path: Path,
) -> dict[str, Any]:
    """Writes ``results.json`` (see ``docs/results.md``) and returns its content."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "results": [entry(experiment, item) for item in trained],
        "deviations": deviations(experiment.protocol),
        "teacher": {"name": experiment.teacher.name, **teacher},
        "localisation": localisation,
        "environment": capture_environment(),
        "config": experiment.config,
    }
    write_json(path, content)
    return content
