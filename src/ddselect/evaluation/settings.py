"""The ``evaluation`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError, at_least
from ddselect.runtime.store import execution

VIEWS_VERSION, CHECK_VERSION = 1, 2


@dataclass
class EvaluationConfig:
    """What students are tested on, and what is measured beside; see ``conf/evaluation/``."""

    split: str = "test"
    batch_size: int = execution(500)
    images_per_class: int = 0
    dd_ranking: bool = False
    quality: bool = True

    def __post_init__(self) -> None:
        if self.split not in ("test", "val"):
            raise UserError(f"evaluation.split={self.split}: choose test or val")
        at_least(1, "evaluation", self, "batch_size")
        at_least(0, "evaluation", self, "images_per_class")
