"""The ``boxes`` group."""

from dataclasses import dataclass, field

from ddselect.runtime.errors import UserError, at_least, shares

VERSION = 2  # of what the stage writes


@dataclass
class BoxesConfig:
    """Which boxes of a scored image are candidates; see ``conf/boxes/``."""

    sizes: list[float] = field(default_factory=lambda: [0.5])
    per_image: int = 1
    overlap: float = 0.0
    exponent: float = 0.5
    sigma: float = 0.375
    prediction_shift_weight: float = 0.75

    def __post_init__(self) -> None:
        if not self.sizes or any(not 0 < size <= 1 for size in self.sizes):
            raise UserError(f"boxes.sizes={list(self.sizes)}: one or more shares above 0, up to 1, are needed")
        at_least(1, "boxes", self, "per_image")
        at_least(0, "boxes", self, "sigma")
        shares("boxes", self, "overlap", below_one=True)
        shares("boxes", self, "exponent", "prediction_shift_weight")
