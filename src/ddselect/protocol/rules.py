"""What a protocol leaves to the size of the distilled set, the classes, the images or the student."""

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any

from ddselect.runtime.errors import UserError

_TINY_IMAGENET = 200  # classes
_DOUBLED = (100, 1000)  # classes
STATISTICS: dict[str, tuple[list[float], list[float]] | None] = {
    "teacher": None,
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "half": ([0.5] * 3, [0.5] * 3),
}
_CONDITIONS = ("classes", "ipc", "images")
_VALUES: dict[str, type] = {
    "epochs": int, "batch_size": int, "learning_rate": float, "weight_decay": float, "zeta": float, "area": float,
}  # fmt: skip
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


def check_cases(cases: Sequence[Mapping[str, Any]]) -> None:
    """Refuses cases that :func:`case` cannot read.

    Raises:
        UserError: A name or a value is none.
    """
    for row in cases:
        said = f"protocol.cases: {dict(row)}"
        if unknown := [name for name in row if name not in (*_CONDITIONS, *_VALUES, "student")]:
            known = ", ".join([*_VALUES, *_CONDITIONS, "student"])
            raise UserError(f"{said}: no such key, '{unknown[0]}'; choose from {known}")
        for name in _CONDITIONS:
            bounds = _bounds(row.get(name, 1))
            if not all(type(bound) is int and bound > 0 for bound in bounds) or sorted(bounds) != bounds:
                raise UserError(f"{said}: {name} is a number from 1 on, or two rising ones")
        for name, kind in _VALUES.items():
            value = row.get(name, 1)
            whole = type(value) is int
            if not (whole or (kind is float and type(value) is float and isfinite(value))) or value <= 0:
                raise UserError(f"{said}: {name}={value} is no {'whole ' * (kind is int)}number above 0")


def case(cases: Sequence[Mapping[str, Any]], architecture: str, ipc: int | None, classes: int) -> dict[str, Any]:
    """What the rows that fit a student and a set say, later ones first; IPC None, the full data, is above any other."""
    each = inf if ipc is None else ipc
    sizes = {"ipc": each, "classes": classes, "images": each * classes}
    found: dict[str, Any] = {}
    for row in cases:
        ranges = [(_bounds(row[name]), size) for name, size in sizes.items() if name in row]
        fits = all(low <= size <= max(high, default=inf) for (low, *high), size in ranges)
        if fits and row.get("student", architecture) == architecture:
            found |= {name: kind(row[name]) for name, kind in _VALUES.items() if name in row}
    return found


def _bounds(value: Any) -> list[Any]:
    """The smallest that a condition takes, and the largest where it has one."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) and value else [value]


def zeta(architecture: str) -> float:
    """The end of the cosine that suits a student: 1 for a ResNet-18, with whichever norm, 2 for the others."""
    return 1.0 if architecture.split(".")[0] in _RESNET18 else 2.0


def margin(size: int) -> float:
    """RDED's Resize(size // 7 * 8) before CenterCrop(size), as a multiple of the size and never below it."""
    return max(1.0, size // 7 * 8 / size)
