"""The accuracy of each class: of every selection, and which classes are worst and best."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

from ddselect.runtime.stage import Trial
from ddselect.student.confusion import class_accuracies, read_confusion

_LISTED = 5


def per_class(trained: Sequence[Trial], classes: int) -> dict[str, list[float | None]]:
    """Top-1 in percent of each class by selection, mean over seeds; None for a class without test images.

    Args:
        trained: Students of one kind under one protocol.
        classes: Number of classes.
    """
    found: dict[str, list[list[float | None]]] = defaultdict(list)
    for trial in trained:
        found[trial.method.selection.name].append(class_accuracies(read_confusion(trial.training.folder), classes))
    return {
        name: [
            None if None in values else mean(v for v in values if v is not None) for values in zip(*seeds, strict=True)
        ]
        for name, seeds in found.items()
    }


def extremes(accuracies: Sequence[float | None] | None) -> dict[str, list[tuple[int, float]]]:
    """A few of the ``worst`` classes and of the ``best``, none in both: numbers and top-1, the most extreme first.

    Empty if the accuracies are not known or there is one class only.
    """
    known = [(label, value) for label, value in enumerate(accuracies or []) if value is not None]
    order = sorted(known, key=lambda pair: pair[1])
    count = min(_LISTED, len(order) // 2)
    return {"worst": order[:count], "best": order[::-1][:count]} if count else {}
