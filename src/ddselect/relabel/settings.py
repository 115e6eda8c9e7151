"""The ``relabel`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError

VERSION = 3  # of what the stage writes
DESCRIPTION = "labels.json"  # what is told of stored labels, beside them


@dataclass
class RelabelConfig:
    """How a student gets its soft labels; see ``conf/relabel/``."""

    name: str
    keep: str

    def __post_init__(self) -> None:
        if self.keep not in ("nothing", "logits", "features"):
            raise UserError(f"relabel.keep={self.keep}: choose nothing, logits or features")
