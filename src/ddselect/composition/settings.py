"""The ``composition`` group: how the distilled images of a run are filled."""

from dataclasses import dataclass, field

from ddselect.composition.compose import Composition
from ddselect.runtime.errors import UserError


@dataclass
class CompositionConfig:
    """Crops are stitched but for a share of whole images; see ``conf/composition/``.

    Attributes:
        factor: A stitched image holds factor x factor crops.
        whole: Share of the distilled images of a class that are whole images; None: none of them.
        lead: Crops that a selection by the prior's scores takes first, of the mean style or by rank alone: what
            ``selection.lead`` is unless it is set.
        mix_classes: Whether the crops of a stitched image are of different classes, where all labels are soft.
    """

    factor: int
    whole: float | None
    lead: int = 0
    mix_classes: bool = False

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise UserError(f"composition.factor={self.factor}: at least 1 is needed")
        if self.whole is not None and not 0 <= self.whole <= 1:
            raise UserError(f"composition.whole={self.whole}: a share from 0 to 1 is needed")
        if self.lead < 0:
            raise UserError(f"composition.lead={self.lead}: at least 0 is needed")

    def share(self, ipc: int, view: int) -> float:
        """The share of whole images where none is set.

        Args:
            ipc: Images per class.
            view: Side in pixels of an image.
        """
        return 0.0

    def resolve(self, ipc: int, view: int, soft: bool) -> Composition:
        """What it comes to in a run.

        Args:
            ipc: Images per class.
            view: Side in pixels of an image.
            soft: Whether all protocols of the run have soft labels.
        """
        whole = self.share(ipc, view) if self.whole is None else self.whole
        return Composition(self.factor, whole, self.mix_classes and soft and whole < 1 and self.factor > 1)


@dataclass
class AutoCompositionConfig(CompositionConfig):
    """The share of whole images follows from IPC, factor and image size where none is set.

    All images are whole where a crop alone would fill one (factor 1) or would have too few pixels. Otherwise the share
    is that of the last pair of ``whole_by_ipc`` whose IPC is not above the run's: from one pair's IPC to the next
    nothing changes.

    Nested are the ranks. What a smaller IPC takes of a kind, crops or whole images, are the first of that kind's ranks,
    as at a larger one. How many it takes of each is up to the share, so that across a change of the share one distilled
    set does not hold the other.

    Attributes:
        whole_by_ipc: Pairs of an IPC and the share of whole images from it on; IPCs rise from 1.
        least_cell: Least side in pixels of a crop in a stitched image; where it would be smaller, all images are whole.
    """

    whole_by_ipc: list[list[float]] = field(default_factory=lambda: [[1, 0.0], [50, 1.0]])
    least_cell: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = [list(row) for row in self.whole_by_ipc]
        pairs = bool(rows) and all(len(row) == 2 and 0 <= row[1] <= 1 for row in rows)
        starts = [row[0] for row in rows if row]
        if not pairs or starts[0] != 1 or starts != sorted(set(starts)):
            raise UserError(
                f"composition.whole_by_ipc={rows}: pairs [IPC, share from 0 to 1] with IPCs that rise from 1 are needed"
            )
        if self.least_cell < 1:
            raise UserError(f"composition.least_cell={self.least_cell}: at least 1 is needed")

    def share(self, ipc: int, view: int) -> float:
        if self.factor == 1 or view < self.factor * self.least_cell:
            return 1.0
        return [share for start, share in self.whole_by_ipc if start <= ipc][-1]
