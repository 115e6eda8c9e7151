"""The ``backbone/adapt`` group: whether and how the prior is fine-tuned on the dataset before it scores."""

from dataclasses import dataclass, field
from typing import ClassVar

from ddselect.runtime.errors import UserError, at_least, at_most, shares
from ddselect.runtime.store import execution

VERSION = 1
WEIGHT_DECAY = 1e-3  # of AdamW
_DECAY = 0.4  # share of the steps in which the rate falls


@dataclass
class AdaptConfig:
    """Fine-tuning of the prior; see ``conf/backbone/adapt/``."""

    mode: str = "none"
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-4
    warmup: int = 100
    dropout: float = 0.15
    weight_cap: float = 0.0
    average: float = 0.998
    flip: bool = False
    rank: int = 8
    channels: list[int] = field(default_factory=lambda: [24, 48, 64])
    patch: int = 2
    seed: int = 0
    precision: str = "auto"
    checkpoint_every: int = execution(250)
    workers: int = execution(0)

    modes: ClassVar[tuple[str, ...]] = ("none", "full", "lora", "scratch")

    def __post_init__(self) -> None:
        if self.mode not in self.modes:
            raise UserError(f"backbone.adapt.mode={self.mode}: choose one of {', '.join(self.modes)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise UserError(f"backbone.adapt.precision={self.precision}: choose auto, fp32 or bf16")
        at_least(1, "backbone.adapt", self, "steps", "batch_size", "rank", "patch", "checkpoint_every")
        at_most(10_000_000, "backbone.adapt", self, "steps")
        at_least(0, "backbone.adapt", self, "warmup", "weight_cap", "workers")
        shares("backbone.adapt", self, "dropout", "average", below_one=True)
        if self.learning_rate <= 0:
            raise UserError(f"backbone.adapt.learning_rate={self.learning_rate}: a positive number is needed")
        if not self.channels or any(width < 8 or width % 8 for width in self.channels):
            raise UserError(f"backbone.adapt.channels={list(self.channels)}: multiples of 8 are needed")

    def rate(self, step: int) -> float:
        """Factor of the learning rate at a step."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = max(0.0, 1 - step / self.steps)
        return warm * min(1.0, left / _DECAY)
