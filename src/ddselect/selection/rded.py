"""RDED, and the candidates that it shares with the coresets: random crops, judged by the teacher."""

from dataclasses import dataclass, field
from typing import ClassVar

from ddselect.runtime.errors import UserError, at_least
from ddselect.selection.base import CandidateSelectionConfig
from ddselect.selection.random_boxes import check_area

CROPS_VERSION = 2  # of what the stage writes


@dataclass
class TeacherScoredConfig(CandidateSelectionConfig):
    """A method whose candidates are whole images and, of some random crops of each, the one of lowest teacher loss."""

    crops: int = 5
    size: float = 0.5
    area: list[float] = field(default_factory=lambda: [0.25, 0.25])
    padded: bool = False

    scored_by: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "selection", self, "crops")
        if not 0 < self.size <= 1:
            raise UserError(f"selection.size={self.size}: a share above 0, up to 1, is needed")
        check_area(self.area)

    @property
    def crop_settings(self) -> dict[str, object]:
        """What decides, beside the seed, which crops stay: methods that agree in it share the teacher's work."""
        return {"crops": self.crops, "size": self.size, "area": self.area, "padded": self.padded}


@dataclass
class RDEDConfig(TeacherScoredConfig):
    """RDED (Sun et al., CVPR 2024): the crops with the lowest teacher loss, which is their score; images likewise."""
