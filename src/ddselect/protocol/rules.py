"""What a protocol leaves to the size of the distilled set, the classes, the images or the student."""

from collections.abc import Sequence

from ddselect.runtime.errors import UserError

_TINY_IMAGENET = 200  # classes
_DOUBLED = (100, 1000)  # classes
STATISTICS: dict[str, tuple[list[float], list[float]] | None] = {
    "teacher": None,
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "half": ([0.5] * 3, [0.5] * 3),
}
_RESNET18 = ("resnet18", "resnet18_in")


def batch_size(ipc: int | None, classes: int) -> int:
    """RDED's images per step (Sun et al., CVPR 2024): 10, 50, 100 at IPC 1, 10, 50, and in between as at the lower one.

    Doubled for exactly 100 or 1000 classes; 200 are taken for Tiny-ImageNet, which has 100 at every IPC. IPC None, the
    full data, counts as the largest.
    """
    if classes == _TINY_IMAGENET:
        return 100
    size = 10 if ipc is not None and ipc < 10 else 50 if ipc is not None and ipc < 50 else 100
    return size * 2 if classes in _DOUBLED else size


def check_epochs(table: Sequence[Sequence[int]]) -> None:
    """Refuses a table that :func:`epochs` cannot read.

    Raises:
        UserError: It is not of pairs, or their IPCs do not rise from 1.
    """
    rows = [list(row) for row in table]
    if not rows:
        return
    pairs = all(len(row) == 2 and row[1] > 0 for row in rows)
    starts = [row[0] for row in rows if row]
    if not pairs or starts[0] != 1 or starts != sorted(set(starts)):
        raise UserError(f"protocol.epochs_by_ipc={rows}: pairs [IPC, epochs] with IPCs that rise from 1 are needed")


def epochs(table: Sequence[Sequence[int]], ipc: int | None, classes: int) -> int:
    """Epochs of the last pair (IPC, epochs) whose IPC is not above the set's (IDC's rule, Kim et al., ICML 2022).

    As there, exactly 100 classes have two thirds of them, floored to a hundred; any other number, smaller or larger,
    has all. IPC None, the full data, has the last pair.
    """
    if not table:
        return 0
    found = table[-1][1] if ipc is None else [row[1] for row in table if row[0] <= ipc][-1]
    if classes != 100:
        return found
    shorter = found * 2 // 3
    return shorter // 100 * 100 or shorter


def zeta(architecture: str) -> float:
    """The end of the cosine that suits a student: 1 for a ResNet-18, with whichever norm, 2 for the others."""
    return 1.0 if architecture.split(".")[0] in _RESNET18 else 2.0


def margin(size: int) -> float:
    """RDED's Resize(size // 7 * 8) before CenterCrop(size), as a multiple of the size and never below it."""
    return max(1.0, size // 7 * 8 / size)
