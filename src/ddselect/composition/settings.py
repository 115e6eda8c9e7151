"""The ``composition`` group: how the distilled images of a run are filled."""

from dataclasses import dataclass

from ddselect.composition.compose import Composition
from ddselect.runtime.errors import at_least, shares

# Both chosen on validation scenes of 32 pixels.
_WHOLE_FROM_IPC = 50  # from here on whole images are better than crops, with class labels by far (tag history-0.1)
_LEAST_CELL = 16  # pixels: 4 x 4 crops of 8 give 36 % where 2 x 2 of 16 give 96 (experiments/ablations)


@dataclass
class CompositionConfig:
    """Crops are stitched but for a share of whole images; see ``conf/composition/``."""

    factor: int
    whole: float | None
    mix_classes: bool = False

    def __post_init__(self) -> None:
        at_least(1, "composition", self, "factor")
        shares("composition", self, "whole")

    def share(self, ipc: int, view: int) -> float:
        """The share of whole images where none is set.

        ``view`` is the side in pixels of an image.
        """
        return 0.0

    def resolve(self, ipc: int, view: int, soft: bool) -> Composition:
        """What it comes to in a run.

        ``view`` is the side in pixels of an image; ``soft`` says whether all protocols of the run have soft labels.
        """
        whole = self.share(ipc, view) if self.whole is None else self.whole
        return Composition(self.factor, whole, self.mix_classes and soft and whole < 1 and self.factor > 1)


@dataclass
class AutoCompositionConfig(CompositionConfig):
    """All images are whole from IPC 50 on, and where a crop would fill an image alone or have too few pixels.

    Nested are the ranks. What a smaller IPC takes of a kind, crops or whole images, are the first of that kind's ranks,
    as at a larger one. How many it takes of each is up to the share, so that across a change of the share one distilled
    set does not hold the other.
    """

    def share(self, ipc: int, view: int) -> float:
        return float(self.factor == 1 or view < self.factor * _LEAST_CELL or ipc >= _WHOLE_FROM_IPC)
