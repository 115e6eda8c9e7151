"""RDED, and the candidates that it shares with the coresets: random crops, judged by the teacher."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

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
    images: ClassVar[int] = 0  # of each class, drawn at random, that the teacher is shown; 0: all

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "selection", self, "crops")
        if not 0 <= self.size <= 1:
            raise UserError(f"selection.size={self.size}: a share up to 1 is needed, or 0 for 1 / composition.factor")
        check_area(self.area)

    def resolve(self, factor: int, whole: float, soft: bool) -> Self:
        return replace(self, size=self.size or 1 / factor)

    @property
    def crop_settings(self) -> dict[str, object]:
        """What decides, beside the seed, which crops stay: methods that agree in it share the teacher's work."""
        return {"crops": self.crops, "size": self.size, "area": self.area, "padded": self.padded}


@dataclass
class RDEDConfig(TeacherScoredConfig):
    """RDED (Sun et al., CVPR 2024): the crops with the lowest teacher loss, which is their score; images likewise."""


@dataclass
class PublishedRDEDConfig(RDEDConfig):
    """RDED as its public code has it, which looks at some random images of each class and crops at factor 1 too."""

    images: ClassVar[int] = 300  # its mipc, for every dataset

    @property
    def crop_settings(self) -> dict[str, object]:
        return {**super().crop_settings, "images": self.images}

    def share(self, factor: int, whole: float) -> float:
        """Its own at factor 1, where others have whole images."""
        return float(self.whole or 0) if factor == 1 else whole
