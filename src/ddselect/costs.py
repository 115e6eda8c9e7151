"""What a stage costs, by what stages of the same kind in the same store did: never by a guess."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ddselect.runtime.store import StageResult

Facts = Mapping[str, Any]
Rule = Callable[[Facts, Facts], tuple[object, float, float]]


@dataclass(frozen=True)
class Cost:
    """How much a stage has to do.

    Attributes:
        kind: Only stages of one kind are compared, as JSON.
        work: What its time grows with.
        volume: What its bytes grow with.
    """

    kind: str
    work: float
    volume: float


def _prior(config: Facts) -> list[object]:
    return [config["backbone"][key] for key in ("kind", "name", "image_size", "dtype")]


def _without(config: Facts, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def _teacher(config: Facts, facts: Facts) -> tuple[object, float, float]:
    trains = "recipe" in config["teacher"]  # which takes far longer than the test
    return config["teacher"], 1 if trains else facts["test_images"], 1


def _adaptation(config: Facts, _: Facts) -> tuple[object, float, float]:
    adapt = config["backbone"]["adapt"]
    kind = [_prior(config), _without(adapt, "steps", "batch_size", "seed", "learning_rate", "warmup", "decay")]
    return kind, adapt["steps"] * adapt["batch_size"], 1


def _pool(config: Facts, facts: Facts) -> tuple[object, float, float]:
    images = config["pool"]["per_class"] * facts["classes"]
    return [_prior(config), _without(config["pool"], "per_class", "seed", "shard_size")], images, images


def _features(config: Facts, facts: Facts) -> tuple[object, float, float]:
    rows = facts["images"] + facts["crops"]
    return [_without(config["features"], "shard_size"), config["view"]], rows, rows


def _scoring(config: Facts, facts: Facts) -> tuple[object, float, float]:
    work = facts["images"] * facts["network_evaluations_per_image"]
    return [_prior(config), config["scoring"]["keep_latents"]], work, facts["images"]


def _student(config: Facts, facts: Facts) -> tuple[object, float, float]:
    student = [config["student"][key] for key in ("architecture", "precision")]
    return [student, config["protocol"]["labels"]], facts["steps"] * facts["batch_size"], 1


# Of every stage, from its config and facts: what makes it comparable, what its time and what its bytes grow with.
_RULES: dict[str, Rule] = {
    "index": lambda c, f: ([], sum(f["images"].values()), sum(f["images"].values())),
    "teacher": _teacher,
    "backbone": _adaptation,
    "prompt": lambda c, _: ([_prior(c), c["prompt"]["kind"]], len(c["names"]), len(c["names"])),
    "pool": _pool,
    "latents": lambda c, f: (_prior(c), f["images"], f["images"]),
    "pilot": lambda c, f: ([_prior(c), _without(c["pilot"], "classes", "images", "seed")], f["images"], f["images"]),
    "scoring": _scoring,
    "boxes": lambda _, f: ([], f["images"], f["images"]),
    "losses": lambda c, f: ([c["padded"], c["view"]], f["images"] * (c["crops"] + 1), f["images"]),
    "features": _features,
    "confidence": lambda c, f: (c["view"], f["images"] + f["crops"], f["images"] + f["crops"]),
    "styles": lambda c, f: (c["view"], f["images"] + f["crops"], f["images"] + f["crops"]),
    "real": _features,
    "selection": lambda c, f: ([c["selection"]["kind"], c["view"]], f["image"], f["crop"] + f["image"]),
    "composition": lambda c, f: (c["composition"]["factor"], f["images"], f["images"]),
    "quality": lambda *_: ([], 1, 1),
    "relabel": lambda c, f: (c["keep"], f["label_bytes"], f["label_bytes"]),
    "student": _student,
}
_ON_PROCESSOR = ("index", "prompt", "selection", "composition")  # whatever the accelerator


class Experience:
    """What finished stages took, to tell from it what others will take."""

    def __init__(self, stages: Iterable[StageResult], accelerator: str) -> None:
        """From the stages of a store: finished ones, and those that are planned on an accelerator."""
        everything = list(stages)
        self._accelerator = accelerator
        self._origin = {
            done.identity: [done.manifest["config"]["dataset"][key] for key in ("kind", "name", "image_size")]
            for done in everything
            if done.name == "index"
        }
        self._teacher = {d.identity: d.manifest["config"]["teacher"] for d in everything if d.name == "teacher"}
        for done in everything:
            if done.name == "pool":
                self._origin[done.identity] = self._origin.get(done.manifest["after"]["index"], [])
        self._seen: dict[str, list[tuple[Cost, StageResult]]] = {}
        for done in everything:
            if "seconds" in done.manifest and (cost := self.cost(done)):
                self._seen.setdefault(cost.kind, []).append((cost, done))

    def cost(self, done: StageResult) -> Cost | None:
        """What a stage, finished or planned, has to do; None if that is not known."""
        config, after = done.manifest["config"], done.manifest["after"]
        try:
            kind, work, volume = _RULES[done.name](config, done.facts)
        except KeyError:
            return None
        origin = config["dataset"] if done.name == "index" else self._origin.get(after.get("pool", after.get("index")))
        if done.name == "index":
            origin = self._origin[done.identity]
        on_gpu = bool(done.gpu_peak_bytes) if "seconds" in done.manifest else self._accelerator == "gpu"
        where = "" if done.name in _ON_PROCESSOR else on_gpu
        parts = [done.name, kind, origin, self._teacher.get(after.get("teacher")), where]
        return Cost(json.dumps(parts, sort_keys=True), work, volume)

    def seconds(self, cost: Cost) -> float | None:
        """Seconds that it will take; None if nothing of the kind was measured."""
        seen = self._seen.get(cost.kind, [])
        work = sum(each.work for each, _ in seen)
        return cost.work * sum(done.seconds for _, done in seen) / work if work else None

    def bytes(self, cost: Cost) -> float | None:
        """Bytes that it will write; None if nothing of the kind was measured."""
        seen = self._seen.get(cost.kind, [])
        volume = sum(each.volume for each, _ in seen)
        return cost.volume * sum(done.bytes for _, done in seen) / volume if volume else None
