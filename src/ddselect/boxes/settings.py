"""The ``boxes`` group."""

from dataclasses import dataclass, field

from ddselect.runtime.errors import UserError

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
        if self.per_image < 1:
            raise UserError(f"boxes.per_image={self.per_image}: at least 1 is needed")
        if not 0 <= self.overlap < 1:
            raise UserError(f"boxes.overlap={self.overlap}: a share from 0 to below 1 is needed")
        if self.sigma < 0:
            raise UserError(f"boxes.sigma={self.sigma}: 0 or more is needed")
        for name in ("exponent", "prediction_shift_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"boxes.{name}={getattr(self, name)}: a number from 0 to 1 is needed")
