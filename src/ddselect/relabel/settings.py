"""The ``relabel`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError

VERSION = 3  # of what the stage writes
_REPEATS = 10  # with 512 features for 1000 classes, labels are 38 times smaller than logits of every pass
DESCRIPTION = "labels.json"  # what is told of stored labels, beside them


@dataclass
class RelabelConfig:
    """How a student gets its soft labels; see ``conf/relabel/``."""

    name: str
    keep: str

    def __post_init__(self) -> None:
        if self.keep not in ("nothing", "logits", "features", "quantised"):
            raise UserError(f"relabel.keep={self.keep}: choose nothing, logits, features or quantised")

    @property
    def repeats(self) -> int:
        """How often a student sees the views of a stored pass, one after the other."""
        return _REPEATS if self.keep == "quantised" else 1

    def deviations(self, labels: str) -> list[str]:
        """What it changes of a protocol with such labels."""
        if self.repeats == 1 or labels != "soft":
            return []
        return [f"relabel.keep={self.keep} (labels in 8 bits, of one pass in {self.repeats}, whose views come again)"]
