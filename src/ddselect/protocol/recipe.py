"""The ``protocol`` group: everything that fixes how a student is trained and tested."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import cos, floor, pi

from ddselect.protocol import rules
from ddselect.runtime.errors import UserError

_CHOICES = {
    "labels": ("soft", "hard"),
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "steps"),
    "loss": ("kl", "mse"),
    "mixing": ("cutmix", "mixup", "none"),
}
_OF_VIEWS = (
    *("epochs", "steps", "batch_size", "many_batch_size", "drop_last", "mixing", "alpha", "area", "ratio", "shift"),
    *("flip", "jitter", "lighting", "shuffle"),
)
_NOT_NEGATIVE = (
    *("epochs", "steps", "batch_size", "many_batch_size", "learning_rate", "many_learning_rate"),
    *("weight_decay", "many_weight_decay", "warmup", "shift", "jitter", "lighting"),
)


@dataclass
class ProtocolConfig:
    """A training and test protocol; see ``conf/protocol/`` and METHOD for the published ones.

    Attributes:
        name: Name in results and reports.
        labels: ``soft``: the teacher labels every mixed batch; ``hard``: class labels.
        epochs: Passes over the distilled set; 0 if ``steps`` or ``epochs_by_ipc`` decides.
        epochs_by_ipc: Pairs of an IPC and the epochs from it on, where epochs and steps are 0 (see ``rules.epochs``).
        steps: Optimiser steps, whatever the size of the set; 0 if ``epochs`` is given.
        batch_size: Images per step, in a training by epochs never more than the set has; 0 for RDED's rule: 10, 50, 100
            from IPC 1, 10, 50, doubled for 100 classes or more, 100 for the 200 classes of Tiny-ImageNet.
        many_batch_size: At least so many with more than 100 classes.
        drop_last: Whether an epoch leaves out its last, smaller batch.
        optimizer: ``adamw``, ``adam`` or ``sgd``.
        learning_rate: Where it starts; 0 takes the student's own.
        many_learning_rate: The same with more than 100 classes; 0: ``learning_rate``.
        betas: Of ``adamw`` and ``adam``.
        momentum: Of ``sgd``.
        weight_decay: Of the optimiser.
        many_weight_decay: The same with more than 100 classes; 0: ``weight_decay``.
        decay_vectors: Whether one-dimensional parameters (biases, norms) decay too.
        schedule: How the rate falls: ``cosine`` or ``steps``.
        warmup: Steps of linear warm-up.
        zeta: Of ``cosine``: the rate is multiplied by (1 + cos(pi * progress / zeta)) / 2: 1 ends at zero, 2 at half
            the start; 0 stands for 1 with a ResNet-18 as student and 2 with others.
        milestones: Of ``steps``: shares of the training, taken as the fractions they are close to, after which the rate
            is multiplied by ``gamma``.
        gamma: See there.
        per_epoch: Whether the rate changes once an epoch rather than every step.
        loss: ``kl``: KL divergence of softened outputs, batch mean, without the factor T^2; ``mse``: squared error of
            centred logits. Class labels have the cross-entropy.
        temperature: T of ``kl``; the divisor of the logits for ``mse``.
        mixing: ``cutmix``, ``mixup`` or ``none``, once a batch.
        alpha: Parameter of mixing's Beta distribution.
        area: Smallest and largest area of the random window (see ``crop_resize``); a smallest of 0 stands for
            1 / composition.factor, as in RDED.
        ratio: Smallest and largest aspect ratio of it.
        shift: Reach of its centre; 0 keeps it inside the image.
        flip: Whether to mirror at random.
        jitter: Strength of random brightness, contrast and saturation.
        lighting: Standard deviation of AlexNet's random light.
        shuffle: Whether to permute the stitched patches of a distilled image at random.
        test_margin: A test image is resized to this times its size and centre-cropped; 0 for RDED's rule, resizing to
            size // 7 * 8 (256 for 224, 72 for 64, 32 for 32).
        evaluate_from: Share of the training after which the student is tested for the first time.
        evaluations: Number of tests, the last one at the end.
    """

    name: str
    labels: str = "soft"
    epochs: int = 0
    epochs_by_ipc: list[list[int]] = field(default_factory=list)
    steps: int = 0
    batch_size: int = 0
    many_batch_size: int = 0
    drop_last: bool = True
    optimizer: str = "adamw"
    learning_rate: float = 0.0
    many_learning_rate: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    momentum: float = 0.9
    weight_decay: float = 0.01
    many_weight_decay: float = 0.0
    decay_vectors: bool = False
    schedule: str = "cosine"
    warmup: int = 0
    zeta: float = 1.0
    milestones: list[float] = field(default_factory=lambda: [0.666667, 0.833333])
    gamma: float = 0.2
    per_epoch: bool = False
    loss: str = "kl"
    temperature: float = 20.0
    mixing: str = "cutmix"
    alpha: float = 1.0
    area: list[float] = field(default_factory=lambda: [0.25, 1.0])
    ratio: list[float] = field(default_factory=lambda: [1.0, 1.0])
    shift: float = 0.0
    flip: bool = True
    jitter: float = 0.0
    lighting: float = 0.0
    shuffle: bool = False
    test_margin: float = 1.0
    evaluate_from: float = 0.0
    evaluations: int = 10

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"protocol.{name}={getattr(self, name)}: choose one of {', '.join(choices)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UserError(f"protocol.{name}={getattr(self, name)}: 0 or more is needed")
        rules.check_epochs(self.epochs_by_ipc)
        by_ipc = bool(self.epochs_by_ipc) and not self.epochs and not self.steps
        if (self.epochs > 0) == (self.steps > 0) and not by_ipc:
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
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"protocol.betas={list(self.betas)}: two numbers from 0 up to, not including, 1 are needed")
        if not 0 <= self.momentum < 1:
            raise UserError(f"protocol.momentum={self.momentum}: from 0 up to, not including, 1 is needed")
        marks = list(self.milestones)
        if marks != sorted(set(marks)) or not all(0 < mark < 1 for mark in marks):
            raise UserError(f"protocol.milestones={marks}: rising shares of the training between 0 and 1 are needed")
        if self.evaluations < 1 or not 0 <= self.evaluate_from < 1:
            raise UserError("protocol: evaluations must be at least 1, evaluate_from from 0 up to, not including, 1")

    def resolve(self, architecture: str, own_rate: float, ipc: int | None, classes: int) -> "ProtocolConfig":
        """The protocol of one student and set, without rules for epochs, rate, weight decay and zeta.

        Args:
            architecture: The student's.
            own_rate: The student's learning rate, for protocols that have none.
            ipc: Images per class; None for the full data.
            classes: Number of classes.
        """
        many = classes > 100
        given = self.epochs or self.steps
        return replace(
            self,
            epochs=self.epochs if given else rules.epochs(self.epochs_by_ipc, ipc, classes),
            epochs_by_ipc=[],
            learning_rate=(many and self.many_learning_rate) or self.learning_rate or own_rate,
            many_learning_rate=0.0,
            weight_decay=(many and self.many_weight_decay) or self.weight_decay,
            many_weight_decay=0.0,
            zeta=self.zeta or rules.zeta(architecture),
        )

    def with_class_labels(self) -> "ProtocolConfig":
        """This protocol with class labels and the cross-entropy in place of soft labels, all else being equal."""
        return self if self.labels == "hard" else replace(self, name=f"{self.name}+class_labels", labels="hard")

    def without_augmentation(self) -> "ProtocolConfig":
        """This protocol with every image shown as it is: neither mixed nor cut, mirrored, recoloured or shuffled."""
        plain = replace(
            self, mixing="none", area=[1.0, 1.0], ratio=[1.0, 1.0], shift=0.0, flip=False, jitter=0.0, lighting=0.0,
            shuffle=False,
        )  # fmt: skip
        return self if plain == self else replace(plain, name=f"{self.name}+no_augmentation")

    def of_views(self) -> dict[str, object]:
        """What decides the views that a student sees: labels can be stored for these."""
        return {name: getattr(self, name) for name in _OF_VIEWS}

    def batch(self, ipc: int | None, classes: int, images: int) -> int:
        """Images per step for a distilled set (IPC None: the full data)."""
        size = max(self.batch_size or rules.batch_size(ipc, classes), self.many_batch_size if classes > 100 else 0)
        return size if self.steps else min(size, images)

    def images_per_pass(self, images: int, batch: int) -> int:
        """Images in one pass over the set: each once, or as often as a batch needs that is larger than the set."""
        return images * -(-batch // images)

    def steps_per_epoch(self, images: int, batch: int) -> int:
        """Optimiser steps in one pass over the set."""
        shown = self.images_per_pass(images, batch)
        return shown // batch if self.drop_last else -(-shown // batch)

    def total_steps(self, images: int, batch: int) -> int:
        """Optimiser steps in all."""
        return self.steps or self.epochs * self.steps_per_epoch(images, batch)

    def rate(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Factor of the learning rate at a step, of a resolved protocol."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "steps":
            unit = steps_per_epoch if self.per_epoch else 1
            length, place = Fraction(total, unit), step // unit
            shares = [Fraction(mark).limit_denominator(100) for mark in self.milestones]
            return warm * self.gamma ** sum(place >= floor(length * share) for share in shares)
        progress = (step // steps_per_epoch * steps_per_epoch if self.per_epoch else step) / total
        return warm * (1 + cos(pi * min(1.0, progress) / self.zeta)) / 2

    def margin(self, size: int) -> float:
        """What a test image of a size in pixels is resized to, as a multiple of that, before it is centre-cropped."""
        return self.test_margin or rules.margin(size)

    def evaluation_steps(self, total: int) -> list[int]:
        """Numbers of finished steps after which the student is tested, rising, the last one being ``total``."""
        count = min(self.evaluations, total)
        marks = {round(total * (self.evaluate_from + (1 - self.evaluate_from) * (k + 1) / count)) for k in range(count)}
        return sorted(max(1, mark) for mark in marks)
