"""The ``evaluation`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution


@dataclass
class EvaluationConfig:
    """What students are tested on, and what is measured beside; see ``conf/evaluation/``.

    Attributes:
        split: Split whose images a student is tested on.
        batch_size: Images per call.
        workers: Image-loading processes, for test sets that are not kept in memory.
        dd_ranking: Whether what DD-Ranking's scores need is trained too, and the scores are given.
        quality: Whether every distilled set is compared with the real images in the teacher's features.
    """

    split: str = "test"
    batch_size: int = execution(500)
    workers: int = execution(0)
    dd_ranking: bool = False
    quality: bool = True

    def __post_init__(self) -> None:
        if self.split not in ("test", "val"):
            raise UserError(f"evaluation.split={self.split}: choose test or val")
        if self.batch_size < 1 or self.workers < 0:
            raise UserError("evaluation: batch_size must be at least 1, workers 0 or more")
