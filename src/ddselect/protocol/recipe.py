"""The ``protocol`` group: everything that fixes how a student is trained and tested."""

from dataclasses import dataclass, field
from math import cos, pi

from ddselect.runtime.errors import UserError

_CHOICES = {
    "labels": ("soft", "hard"),
    "loss": ("kl", "mse"),
    "mixing": ("cutmix", "mixup", "none"),
}


@dataclass
class Protocol:
    """A training and test protocol; see ``conf/protocol/`` and METHOD for the published ones.

    Attributes:
        name: Name in results and reports.
        labels: ``soft``: the teacher labels every mixed batch; ``hard``: class labels.
        epochs: Passes over the distilled set; 0 if ``steps`` is given.
        steps: Optimiser steps, whatever the size of the set; 0 if ``epochs`` is given.
        batch_size: Images per step, never more than the set has; 0 for RDED's rule: 10, 50, 100 from IPC 1, 10, 50,
            doubled for 100 classes or more.
        learning_rate: AdamW; 0 takes the student's own.
        betas: AdamW.
        weight_decay: AdamW.
        decay_vectors: Whether one-dimensional parameters (biases, norms) decay too.
        warmup: Steps of linear warm-up.
        zeta: The rate is multiplied by (1 + cos(pi * progress / zeta)) / 2: 1 ends at zero, 2 at half the start.
        per_epoch: Whether the rate changes once an epoch rather than every step.
        loss: ``kl``: KL divergence of softened outputs, batch mean, without the factor T^2; ``mse``: squared error of
            centred logits.
        temperature: T of ``kl``; the divisor of the logits for ``mse``.
        mixing: ``cutmix``, ``mixup`` or ``none``, once a batch.
        alpha: Parameter of mixing's Beta distribution.
        area: Smallest and largest area of the random window (see ``crop_resize``); a smallest of 0 stands for
            1 / composition.factor, as in RDED.
        ratio: Smallest and largest aspect ratio of it.
        shift: Reach of its centre; 0 keeps it inside the image.
        flip: Whether to mirror at random.
        shuffle: Whether to permute the stitched patches of a distilled image at random.
        test_margin: A test image is resized to this times its size and centre-cropped.
        evaluate_from: Share of the training after which the student is tested for the first time.
        evaluations: Number of tests, the last one at the end.
    """

    name: str
    labels: str = "soft"
    epochs: int = 0
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.01
    decay_vectors: bool = False
    warmup: int = 0
    zeta: float = 1.0
    per_epoch: bool = False
    loss: str = "kl"
    temperature: float = 20.0
    mixing: str = "cutmix"
    alpha: float = 1.0
    area: list[float] = field(default_factory=lambda: [0.25, 1.0])
    ratio: list[float] = field(default_factory=lambda: [1.0, 1.0])
    shift: float = 0.0
    flip: bool = True
    shuffle: bool = False
    test_margin: float = 1.0
    evaluate_from: float = 0.0
    evaluations: int = 10

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"protocol.{name}={getattr(self, name)}: choose one of {', '.join(choices)}")
        for name in ("epochs", "steps", "batch_size", "learning_rate", "weight_decay", "warmup", "shift"):
            if getattr(self, name) < 0:
                raise UserError(f"protocol.{name}={getattr(self, name)}: 0 or more is needed")
        if (self.epochs > 0) == (self.steps > 0):
            raise UserError(f"protocol: give either epochs or steps, not epochs={self.epochs} and steps={self.steps}")
        for name in ("temperature", "alpha"):
            if getattr(self, name) <= 0:
                raise UserError(f"protocol.{name}={getattr(self, name)}: a number above 0 is needed")
        for name in ("zeta", "test_margin"):
            if getattr(self, name) < 1:
                raise UserError(f"protocol.{name}={getattr(self, name)}: at least 1 is needed")
        for name in ("area", "ratio"):
            value = list(getattr(self, name))
            if len(value) != 2 or not 0 <= value[0] <= value[1] or value[1] == 0 or (name == "ratio" and value[0] == 0):
                raise UserError(f"protocol.{name}={value}: two rising numbers above 0 are needed")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"protocol.betas={list(self.betas)}: two numbers from 0 up to, not including, 1 are needed")
        if self.evaluations < 1 or not 0 <= self.evaluate_from < 1:
            raise UserError("protocol: evaluations must be at least 1, evaluate_from from 0 up to, not including, 1")

    def batch(self, ipc: int | None, classes: int, images: int) -> int:
        """Images per step for a distilled set (IPC None: the full data)."""
        size = self.batch_size
        if not size:
            size = 10 if ipc is not None and ipc < 10 else 50 if ipc is not None and ipc < 50 else 100
            size *= 2 if classes >= 100 else 1
        return min(size, images)

    def total_steps(self, images: int, batch: int) -> int:
        """Optimiser steps in all; the last, smaller batch of an epoch is left out."""
        return self.steps or self.epochs * (images // batch)

    def rate(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Factor of the learning rate at a step."""
        progress = (step // steps_per_epoch * steps_per_epoch if self.per_epoch else step) / total
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * (1 + cos(pi * min(1.0, progress) / self.zeta)) / 2

    def evaluation_steps(self, total: int) -> list[int]:
        """Numbers of finished steps after which the student is tested, rising, the last one being ``total``."""
        count = min(self.evaluations, total)
        marks = {round(total * (self.evaluate_from + (1 - self.evaluate_from) * (k + 1) / count)) for k in range(count)}
        return sorted(max(1, mark) for mark in marks)
