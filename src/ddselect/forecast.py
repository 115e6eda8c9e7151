"""The facts of a stage that can be told before it is run, under the names that it gives them itself."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddselect.config import Experiment
from ddselect.dataset.index import read_index
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.store import Stage, StageResult

Facts = dict[str, Any]


def forecast(experiment: Experiment, stage: Stage, index: StageResult | None) -> Facts:
    """What is known of an unfinished stage's facts; nothing if what it follows from is not known itself.

    Args:
        experiment: The experiment.
        stage: The stage; those before it may be forecast as well.
        index: The index of the dataset; None if the stage is that.
    """
    before = {done.name: done for done in stage.after}
    try:
        rule = _RULES.get(stage.name)
        return rule(experiment, stage, before | ({"index": index} if index else {})) if rule else {}
    except KeyError:  # a fact of an earlier stage
        return {}


def _images_of(done: StageResult) -> int:
    """Training images of an index, or of a pool's."""
    return int(done.facts["images"]["train"])


def _pool_of(before: Mapping[str, StageResult]) -> StageResult:
    return before.get("pool", before["index"])


def _candidates(e: Experiment, pool: StageResult) -> int:
    """Images that are scored; where classes are not counted yet, as many as there can be at most."""
    images, cap = _images_of(pool), e.scoring.cap
    if not cap:
        return images
    if "seconds" not in pool.manifest:
        return min(images, cap * int(pool.facts["classes"]))
    labels = read_index(pool.folder).split("train").labels
    return int(np.minimum(np.bincount(labels), cap).sum())


def _index(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    counts = e.dataset.counts()
    return {"classes": len(e.dataset.class_folders()), **({"images": counts} if counts else {})}


def _teacher(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    return {"test_images": before["index"].facts["images"][e.evaluation.split]}


def _pool(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    classes = before["index"].facts["classes"]
    real = _images_of(before["index"]) if e.pool.kind == "mixed" else 0
    return {"classes": classes, "images": {"train": classes * e.pool.per_class + real}}


def _latents(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    return {"images": _candidates(e, _pool_of(before))}


def _pilot(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    return {"images": min(e.pilot.classes, before["index"].facts["classes"]) * e.pilot.images}


def _scoring(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    evaluations = e.scoring.evaluations(e.prompt.conditions)
    return {"images": _candidates(e, _pool_of(before)), "network_evaluations_per_image": evaluations}


def _losses(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    return {"images": _images_of(_pool_of(before))}


def _boxes(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    return {"images": before["scoring"].facts["images"]}


def _crops_per_image(e: Experiment, before: Mapping[str, StageResult]) -> int:
    """The most crops of an image that a selection chooses from."""
    return e.boxes.per_image if "boxes" in before else e.scoring.boxes if "scoring" in before else 1


def _features(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    scores = before.get("boxes") or before.get("scoring") or before["losses"]
    images = scores.facts["images"]
    return {"images": images, "crops": images * _crops_per_image(e, before)}


def _real(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    return {"images": _images_of(before["index"]), "crops": 0}


def _selection(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    scores = before.get("boxes") or before.get("scoring") or before.get("losses")
    images = scores.facts["images"] if scores else _images_of(_pool_of(before))
    return {"image": images, "crop": images * _crops_per_image(e, before)}


def _composition(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    ipc, classes = stage.config["ipc"], before["index"].facts["classes"]  # type: ignore[index]
    return {"images": ipc * classes if ipc else _images_of(_pool_of(before))}


def _steps(protocol: ProtocolConfig, before: Mapping[str, StageResult]) -> tuple[int, int, int]:
    """Steps, batch size and images of a training under a resolved protocol."""
    composition, classes = before["composition"], before["index"].facts["classes"]
    images = composition.facts["images"]
    batch = protocol.batch(composition.manifest["config"]["ipc"], classes, images)
    return protocol.total_steps(images, batch), batch, images


def _relabel(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    protocol = ProtocolConfig("views", **stage.config["views"])  # type: ignore[index]
    steps, batch, images = _steps(protocol, before)
    per_pass = protocol.steps_per_epoch(images, batch)
    if e.relabel.keep != "logits":  # how many features a teacher has it tells when it is loaded
        return {}
    passes, width = -(-steps // per_pass), before["index"].facts["classes"]
    shown = min(protocol.images_per_pass(images, batch), per_pass * batch)
    return {"passes": passes, "width": width, "label_bytes": 2 * width * shown * passes}


def _student(e: Experiment, stage: Stage, before: Mapping[str, StageResult]) -> Facts:
    student, protocol = stage.config["student"], stage.config["protocol"]  # type: ignore[index]
    ipc = before["composition"].manifest["config"]["ipc"]
    classes = before["index"].facts["classes"]
    resolved = protocol.resolve(student.architecture, student.learning_rate, ipc, classes)
    steps, batch, images = _steps(resolved, before)
    return {"steps": steps, "batch_size": batch, "training_images": images}


_RULES: dict[str, Callable[[Experiment, Stage, Mapping[str, StageResult]], Facts]] = {
    "index": _index,
    "teacher": _teacher,
    "pool": _pool,
    "latents": _latents,
    "pilot": _pilot,
    "scoring": _scoring,
    "boxes": _boxes,
    "losses": _losses,
    "features": _features,
    "confidence": _features,
    "styles": _features,
    "real": _real,
    "selection": _selection,
    "composition": _composition,
    "relabel": _relabel,
    "student": _student,
}
