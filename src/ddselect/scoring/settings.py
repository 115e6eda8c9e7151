"""The ``scoring`` group."""

from dataclasses import dataclass, field

from ddselect.runtime.errors import UserError, at_least, at_most, shares
from ddselect.runtime.store import execution
from ddselect.scoring.draws import Draws

VERSION = 7  # of what the stage writes
LATENTS_VERSION = 2
CHECK_VERSION = 1


@dataclass
class ScoringConfig:
    """How images are scored; see ``conf/scoring/``."""

    draws: int = 4
    antithetic: bool = True
    band: list[float] = field(default_factory=lambda: [0.3, 0.65])
    cross_draw_weight: float = 0.5
    seed: int = 0
    cap: int = 0
    keep_latents: bool = False
    check_prior: bool = execution(True)
    shard_size: int = execution(500)
    batch_size: int = execution(64)
    workers: int = execution(-1)

    def __post_init__(self) -> None:
        if self.draws < 1 or (self.antithetic and self.draws % 2):
            raise UserError(f"scoring.draws={self.draws}: a positive number is needed, an even one if antithetic")
        if len(self.band) != 2 or not 0 <= self.band[0] < self.band[1] <= 1:
            raise UserError(f"scoring.band={self.band}: two rising shares within 0 and 1 are needed, e.g. [0.2,0.8]")
        shares("scoring", self, "cross_draw_weight")
        if self.cross_draw_weight and self.draws == 1:
            raise UserError(
                f"scoring.cross_draw_weight={self.cross_draw_weight}: cross terms need two draws or more, not "
                "scoring.draws=1"
            )
        at_most(10_000, "scoring", self, "draws")
        at_least(-1, "scoring", self, "workers")
        at_least(0, "scoring", self, "cap")
        at_least(1, "scoring", self, "shard_size", "batch_size")

    def evaluations(self, conditions: int) -> int:
        """Network evaluations that one image costs under so many conditions, 1 or 2."""
        return self.draws * conditions

    def make_draws(self) -> Draws:
        """The draws that these settings describe."""
        low, high = self.band
        return Draws(self.draws, self.antithetic, (low, high), self.seed)
