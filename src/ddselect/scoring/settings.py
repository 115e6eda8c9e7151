"""The ``scoring`` group."""

from dataclasses import dataclass, field

from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution, optional
from ddselect.scoring.draws import Draws

VERSION = 5  # of what the stage writes
LATENTS_VERSION = 1


@dataclass
class ScoringConfig:
    """How images are scored; see ``conf/scoring/``.

    Attributes:
        draws: Paired draws per image.
        antithetic: Whether draws come in pairs (t, eps), (t, -eps).
        stratified: Whether an image's timesteps are spread evenly over the band instead of drawn independently.
        band: Lowest and highest timestep as shares of the schedule.
        weights: Relative weights of the draws in equal parts of the band.
        cross: Share of the cross terms of different draws in the difference; the rest is the draws' own.
        noise: ``image``: each image has its own noises; ``shared``: all see the same.
        seed: Seed of the noise.
        box: Side of a box as a share of the view's side.
        sigma: Width of the Gaussian search window as a share of the box; 0 for a flat window.
        change: Share of the change of the prediction, beside the difference of the losses, in what boxes are placed by.
        boxes: Non-overlapping boxes kept per image.
        cap: Images of each class that are scored, chosen at random; 0 for all.
        shard_size: Images per shard: what an interruption can cost at most.
        batch_size: Images per network call (each goes through twice, once for each condition).
        workers: Image-loading processes; 0 loads in the main one, -1 chooses.
        keep_latents: Whether latents are made once, as a stage of their own, instead of in every scoring.
    """

    draws: int = 4
    antithetic: bool = True
    stratified: bool = True
    band: list[float] = field(default_factory=lambda: [0.3, 0.65])
    weights: list[float] = field(default_factory=lambda: [1.0])
    cross: float = optional(0.5, silent_at=0.0)
    noise: str = "image"
    seed: int = 0
    box: float = 0.5
    sigma: float = 0.375
    change: float = 0.75
    boxes: int = 1
    cap: int = 0
    shard_size: int = 500
    batch_size: int = execution(64)
    workers: int = execution(-1)
    keep_latents: bool = False

    def __post_init__(self) -> None:
        if self.draws < 1 or (self.antithetic and self.draws % 2):
            raise UserError(f"scoring.draws={self.draws}: a positive number is needed, an even one if antithetic")
        if len(self.band) != 2 or not 0 <= self.band[0] < self.band[1] <= 1:
            raise UserError(f"scoring.band={self.band}: two rising shares within 0 and 1 are needed, e.g. [0.2,0.8]")
        if not self.weights or min(self.weights) <= 0:
            raise UserError(f"scoring.weights={list(self.weights)}: one or more numbers above 0 are needed")
        if not 0 <= self.cross <= 1:
            raise UserError(f"scoring.cross={self.cross}: a share from 0 to 1 is needed")
        if self.cross and self.draws == 1:
            raise UserError(f"scoring.cross={self.cross}: cross terms need two draws or more, not scoring.draws=1")
        if not 0 <= self.change <= 1:
            raise UserError(f"scoring.change={self.change}: a share from 0 to 1 is needed")
        if self.noise not in ("image", "shared"):
            raise UserError(f"scoring.noise={self.noise}: choose image or shared")
        if not 0 < self.box <= 1:
            raise UserError(f"scoring.box={self.box}: a share above 0, up to 1, is needed")
        if self.sigma < 0:
            raise UserError(f"scoring.sigma={self.sigma}: 0 or more is needed")
        for name, least in (("cap", 0), ("workers", -1), ("boxes", 1), ("shard_size", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UserError(f"scoring.{name}={getattr(self, name)}: at least {least} is needed")

    def evaluations(self, conditions: int) -> int:
        """Network evaluations that one image costs under so many conditions, 1 or 2."""
        return self.draws * conditions

    def make_draws(self) -> Draws:
        """The draws that these settings describe."""
        low, high = self.band
        return Draws(
            self.draws, self.antithetic, self.stratified, (low, high), self.noise == "shared", self.seed,
            tuple(self.weights),
        )  # fmt: skip
