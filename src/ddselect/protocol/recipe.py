"""The ``protocol`` group: everything that fixes how a student is trained and tested."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import cos, floor, pi
from typing import Any

from ddselect.protocol import rules
from ddselect.runtime.errors import UserError, at_least, at_most, shares

TEACHER = "teacher"  # name of the recipe by which a teacher is trained
_CHOICES = {
    "labels": ("soft", "hard"),
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "cosine_linear", "linear", "steps"),
    "loss": ("kl", "kl_t2", "mse", "mse_logits"),
    "augment": ("none", "randaugment", "dsa"),
    "mixing": ("cutmix", "mixup", "none"),
    "normalisation": tuple(rules.STATISTICS),
}
_OF_VIEWS = (
    *("epochs", "steps", "batch_size", "augment", "mixing", "alpha", "area", "ratio", "shift"),
    *("flip", "jitter", "lighting", "shuffle", "halves"),
)
_NOT_NEGATIVE = (
    *("epochs", "steps", "batch_size", "learning_rate", "weight_decay", "warmup", "shift", "jitter", "lighting"),
    "class_share",
)


@dataclass
class ProtocolConfig:
    """A training and test protocol; see ``conf/protocol/``."""

    name: str
    labels: str = "soft"
    epochs: int = 0
    steps: int = 0
    batch_size: int = 0
    optimizer: str = "adamw"
    learning_rate: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.01
    cases: list[dict[str, Any]] = field(default_factory=list)
    decay_vectors: bool = False
    schedule: str = "cosine"
    warmup: int = 0
    zeta: float = 1.0
    milestones: list[float] = field(default_factory=lambda: [0.666667, 0.833333])
    gamma: float = 0.2
    loss: str = "kl"
    temperature: float = 20.0
    class_share: float = 0.0
    ema: float = 0.0
    halves: bool = False
    augment: str = "none"
    mixing: str = "cutmix"
    alpha: float = 1.0
    area: list[float] = field(default_factory=lambda: [0.25, 1.0])
    ratio: list[float] = field(default_factory=lambda: [1.0, 1.0])
    shift: float = 0.0
    flip: bool = True
    jitter: float = 0.0
    lighting: float = 0.0
    shuffle: bool = False
    batch_norm_updates: int = 1
    normalisation: str = "teacher"
    test_margin: float = 1.0
    evaluate_from: float = 0.0
    evaluations: int = 10

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"protocol.{name}={getattr(self, name)}: choose one of {', '.join(choices)}")
        at_least(0, "protocol", self, *_NOT_NEGATIVE)
        at_most(100_000, "protocol", self, "epochs")
        at_most(10_000_000, "protocol", self, "steps")
        rules.check_cases(self.cases)
        by_case = not self.epochs and not self.steps and any("epochs" in case for case in self.cases)
        if (self.epochs > 0) == (self.steps > 0) and not by_case:
            raise UserError(f"protocol: give either epochs or steps, not epochs={self.epochs} and steps={self.steps}")
        for name in ("temperature", "alpha", "gamma"):
            if getattr(self, name) <= 0:
                raise UserError(f"protocol.{name}={getattr(self, name)}: a number above 0 is needed")
        for name in ("zeta", "test_margin"):
            if getattr(self, name) < 1 and getattr(self, name) != 0:
                raise UserError(f"protocol.{name}={getattr(self, name)}: at least 1 is needed, or 0")
        for name in ("area", "ratio"):
            value = list(getattr(self, name))
            if len(value) != 2 or not 0 <= value[0] <= value[1] or value[1] == 0 or (name == "ratio" and value[0] == 0):
                raise UserError(f"protocol.{name}={value}: two rising numbers above 0 are needed")
        shares("protocol", self, "momentum", "ema", below_one=True)
        at_least(1, "protocol", self, "batch_norm_updates")
        marks = list(self.milestones)
        if marks != sorted(set(marks)) or not all(0 < mark < 1 for mark in marks):
            raise UserError(f"protocol.milestones={marks}: rising shares of the training between 0 and 1 are needed")
        if self.evaluations < 1 or not 0 <= self.evaluate_from < 1:
            raise UserError("protocol: evaluations must be at least 1, evaluate_from from 0 up to, not including, 1")

    def resolve(self, architecture: str, own_rate: float, ipc: int | None, classes: int) -> "ProtocolConfig":
        """The protocol of one student and set, with values in place of rules.

        ``own_rate`` is the student's learning rate, for protocols that have none; images per class are None for the
        full data.
        """
        case = rules.case(self.cases, architecture, ipc, classes)
        if self.steps:
            case.pop("epochs", None)
        area = [self.area[0] or case.pop("area", 0.0), self.area[1]]
        found = {name: getattr(self, name) or value for name, value in case.items()}
        found["batch_size"] = found.get("batch_size") or self.batch_size or rules.batch_size(ipc, classes)
        found["learning_rate"] = found.get("learning_rate") or self.learning_rate or own_rate
        found["zeta"] = found.get("zeta") or self.zeta or rules.zeta(architecture)
        return replace(self, **{**found, "area": area, "cases": []})

    def with_class_labels(self) -> "ProtocolConfig":
        """This protocol with class labels and the cross-entropy in place of soft labels, all else being equal."""
        return self if self.labels == "hard" else replace(self, name=f"{self.name}+class_labels", labels="hard")

    def without_augmentation(self) -> "ProtocolConfig":
        """This protocol with every image shown as it is: neither mixed nor cut, mirrored, recoloured or shuffled."""
        plain = replace(
            self, augment="none", mixing="none", area=[1.0, 1.0], ratio=[1.0, 1.0], shift=0.0, flip=False, jitter=0.0,
            lighting=0.0, shuffle=False,
        )  # fmt: skip
        return self if plain == self else replace(plain, name=f"{self.name}+no_augmentation")

    def of_views(self) -> dict[str, object]:
        """What decides the views that a student sees: labels can be stored for these."""
        return {name: getattr(self, name) for name in _OF_VIEWS}

    def batch(self, ipc: int | None, classes: int, images: int) -> int:
        """Images per step for a distilled set (IPC None: the full data), of a resolved protocol."""
        size = self.batch_size or rules.batch_size(ipc, classes)
        return size if self.steps else min(size, images)

    def images_per_pass(self, images: int, batch: int) -> int:
        """Images in one pass over the set: each once, or as often as a batch needs that is larger than the set."""
        return images * -(-batch // images)

    def steps_per_epoch(self, images: int, batch: int) -> int:
        """Optimiser steps in one pass over the set."""
        shown = self.images_per_pass(images, batch)
        return shown // batch if self.steps else -(-shown // batch)

    def total_steps(self, images: int, batch: int) -> int:
        """Optimiser steps in all."""
        return self.steps or self.epochs * self.steps_per_epoch(images, batch)

    def rate(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Factor of the learning rate at a step, of a resolved protocol."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "steps":
            unit = 1 if self.steps else steps_per_epoch
            length, place = Fraction(total, unit), step // unit
            shares = [Fraction(mark).limit_denominator(100) for mark in self.milestones]
            return warm * self.gamma ** sum(place >= floor(length * share) for share in shares)
        progress = min(1.0, (step if self.steps else step // steps_per_epoch * steps_per_epoch) / total)
        if self.schedule == "linear":
            return warm * (1 - progress / self.zeta)
        if self.schedule == "cosine_linear" and progress > 5 / 6:
            return warm * (1 + cos(pi * 5 / 6 / self.zeta)) / 2 * (1 - progress)
        return warm * (1 + cos(pi * progress / self.zeta)) / 2

    def statistics(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each channel of images in [0, 1] for the student; None: the teacher's."""
        return rules.STATISTICS[self.normalisation]

    def margin(self, size: int) -> float:
        """What a test image of a size in pixels is resized to, as a multiple of that, before it is centre-cropped."""
        return self.test_margin or rules.margin(size)

    def evaluation_steps(self, total: int) -> list[int]:
        """Numbers of finished steps after which the student is tested, rising, the last one being ``total``."""
        count = min(self.evaluations, total)
        marks = {round(total * (self.evaluate_from + (1 - self.evaluate_from) * (k + 1) / count)) for k in range(count)}
        return sorted(max(1, mark) for mark in marks)
