"""The ``pool`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError, at_least, at_most
from ddselect.runtime.store import execution

VERSION = 2  # of what the stage writes
KINDS = ("real", "generated", "prototypes", "mixed")


@dataclass
class PoolConfig:
    """The images that are scored and selected from; see ``conf/pool/``."""

    name: str
    kind: str = "real"
    per_class: int = 100
    guidance: float = 4.0
    steps: int = 50
    strength: float = 0.7
    seed: int = 0
    batch_size: int = execution(50)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"pool.kind={self.kind}: choose {', '.join(KINDS)}")
        at_least(1, "pool", self, "per_class", "steps", "batch_size")
        at_most(100_000, "pool", self, "per_class")
        at_most(1000, "pool", self, "steps")
        if self.guidance < 1:
            raise UserError(f"pool.guidance={self.guidance}: at least 1 is needed, which is no guidance")
        if not 0 < self.strength <= 1:
            raise UserError(f"pool.strength={self.strength}: a share above 0, up to 1, is needed")

    def check(self, prompt_mode: str, dd_ranking: bool) -> None:
        """Refuses generated images where they cannot be made, or would stand for real ones.

        Raises:
            UserError: So it is.
        """
        if self.generates and prompt_mode == "none":
            raise UserError(f"pool={self.name}: prompt=none does not say which class to make; use prompt=label or text")
        if self.generates and dd_ranking:
            raise UserError(
                f"evaluation.dd_ranking=true compares with random real images, which pool={self.name} has not"
            )

    @property
    def generates(self) -> bool:
        """Whether the prior makes images."""
        return self.kind != "real"
