"""The ``pilot`` group."""

from dataclasses import dataclass, field

from ddselect.runtime.errors import UserError, at_least

VERSION = 3  # of what the stage writes


@dataclass
class PilotConfig:
    """A small trial of scoring budgets; see ``conf/pilot/``."""

    classes: int = 5
    images: int = 60
    reference: int = 100
    bands: list[list[float]] = field(default_factory=lambda: [[0.1, 0.7], [0.2, 0.6], [0.3, 0.65], [0.4, 0.8]])
    draws: list[int] = field(default_factory=lambda: [2, 4, 8, 16])
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, "pilot", self, "classes", "reference")
        at_least(5, "pilot", self, "images")
        if not self.bands or not self.draws or min(self.draws) < 1:
            raise UserError("pilot: bands and draws need at least one entry each, and draws of 1 or more")
        for band in self.bands:
            if len(band) != 2 or not 0 <= band[0] < band[1] <= 1:
                raise UserError(f"pilot: {band} is no band; two rising shares in [0, 1] are needed, e.g. [0.2,0.8]")
