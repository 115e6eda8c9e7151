"""DD-Ranking: scores of a distilled set from which the gains of labels and augmentation are taken out.

Source: "DD-Ranking: Rethinking the evaluation of dataset distillation", arXiv 2505.13300. All accuracies
are top-1 as fractions in [0, 1], all else is refused with a ``UserError``; the public code feeds percent, with which
scores leave their range.
"""

from math import exp

from ddselect.runtime.errors import UserError

REAL, RANDOM = "all", "random_image"  # selections against which the others are set
NEEDED = (RANDOM, REAL)
SCORES = ("hlr", "ior", "lrs", "ars")


def hlr(*, real: float, distilled: float) -> float:
    """Hard label recovery in [-1, 1], small is good: what a student loses by the distilled instead of the real set.

    Both train it under hard labels.
    """
    return _fraction("real", real) - _fraction("distilled", distilled)


def ior(*, distilled: float, random: float) -> float:
    """Improvement over random in [-1, 1], large is good: what the distilled set gains over as many random real images.

    Both train under the same protocol, with any labels.
    """
    return _fraction("distilled", distilled) - _fraction("random", random)


def lrs(*, real_hard: float, distilled_hard: float, distilled: float, random: float, w: float = 0.5) -> float:
    """Label-robust score in [0, 1], large is good: the gain over random images set against the loss under hard labels.

    alpha = w IOR - (1 - w) HLR with w in [0, 1], mapped by (e^alpha - e^-1) / (e - e^-1).
    """
    gain, loss = ior(distilled=distilled, random=random), hlr(real=real_hard, distilled=distilled_hard)
    return _mixed(gain, -loss, "w", w)


def ars(
    *,
    distilled_augmented: float,
    random_augmented: float,
    distilled_plain: float,
    random_plain: float,
    g: float = 0.5,
) -> float:
    """Augmentation-robust score in [0, 1], large is good: the gain over random images with augmentation and without.

    beta = g (gain with the method's augmentation) + (1 - g) (gain without any), mapped as in :func:`lrs`.
    """
    augmented = ior(distilled=distilled_augmented, random=random_augmented)
    plain = ior(distilled=distilled_plain, random=random_plain)
    return _mixed(augmented, plain, "g", g)


def _mixed(first: float, second: float, name: str, weight: float) -> float:
    """The weighted mean of two differences in [-1, 1], mapped to [0, 1]."""
    if not 0 <= weight <= 1:
        raise UserError(f"DD-Ranking: {name}={weight}: a weight from 0 to 1 is needed")
    mean = weight * first + (1 - weight) * second
    return (exp(mean) - exp(-1)) / (exp(1) - exp(-1))


def _fraction(name: str, accuracy: float) -> float:
    if not 0 <= accuracy <= 1:
        raise UserError(
            f"DD-Ranking: accuracy {name}={accuracy}: a fraction from 0 to 1 is needed; divide percent by 100"
        )
    return accuracy
