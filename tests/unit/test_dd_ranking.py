"""DD-Ranking's scores: by hand, within their range, rising with what is good."""

from itertools import product
from math import e, nan

import pytest

from ddselect.evaluation.dd_ranking import ars, hlr, ior, lrs
from ddselect.runtime.errors import UserError

LABELS = {"real_hard": 0.9, "distilled_hard": 0.4, "distilled": 0.7, "random": 0.5}
AUGMENTATION = {
    "distilled_augmented": 0.7,
    "random_augmented": 0.5,
    "distilled_plain": 0.4,
    "random_plain": 0.45,
}


def test_scores_by_hand() -> None:
    assert hlr(real=0.9, distilled=0.4) == pytest.approx(0.5)
    assert ior(distilled=0.7, random=0.5) == pytest.approx(0.2)
    # alpha = 0.5 * 0.2 - 0.5 * 0.5 = -0.15: (0.860708 - 0.367879) / 2.350402
    assert lrs(**LABELS) == pytest.approx(0.209679, abs=1e-6)
    # alpha = 0.8 * 0.2 - 0.2 * 0.5 = 0.06: (1.061837 - 0.367879) / 2.350402
    assert lrs(**LABELS, w=0.8) == pytest.approx(0.295250, abs=1e-6)
    # beta = 0.5 * 0.2 - 0.5 * 0.05 = 0.075: (1.077884 - 0.367879) / 2.350402
    assert ars(**AUGMENTATION) == pytest.approx(0.302078, abs=1e-6)
    assert ars(**AUGMENTATION, g=1.0) == pytest.approx((e**0.2 - 1 / e) / (e - 1 / e))


def test_nothing_gained_and_nothing_lost_is_the_same_on_both_scales() -> None:
    nothing = 1 / (e + 1)  # (1 - 1/e) / (e - 1/e)
    assert lrs(real_hard=0.6, distilled_hard=0.6, distilled=0.3, random=0.3) == pytest.approx(nothing)
    assert ars(**dict.fromkeys(AUGMENTATION, 0.3)) == pytest.approx(nothing)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_scores_stay_from_0_to_1_and_reach_both(weight: float) -> None:
    corners = list(product([0.0, 1.0], repeat=4))
    for scores in (
        [lrs(**dict(zip(LABELS, corner, strict=True)), w=weight) for corner in corners],
        [ars(**dict(zip(AUGMENTATION, corner, strict=True)), g=weight) for corner in corners],
    ):
        assert min(scores) == pytest.approx(0)
        assert max(scores) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "better"), [("real_hard", False), ("distilled_hard", True), ("distilled", True), ("random", False)]
)
def test_the_label_robust_score_rises_with_what_is_good(name: str, better: bool) -> None:
    assert (lrs(**{**LABELS, name: LABELS[name] + 0.05}) > lrs(**LABELS)) == better


@pytest.mark.parametrize("name", AUGMENTATION)
def test_the_augmentation_robust_score_rises_with_what_is_good(name: str) -> None:
    more = ars(**{**AUGMENTATION, name: AUGMENTATION[name] + 0.05})
    assert (more > ars(**AUGMENTATION)) == name.startswith("distilled")


@pytest.mark.parametrize("value", [39.6, 1.01, -0.1, nan])
def test_percent_is_refused(value: float) -> None:
    wanted = rf"{value}: a fraction from 0 to 1 is needed; divide percent by 100"
    for name in LABELS:
        with pytest.raises(UserError, match=wanted):
            lrs(**{**LABELS, name: value})
    for name in AUGMENTATION:
        with pytest.raises(UserError, match=wanted):
            ars(**{**AUGMENTATION, name: value})
    with pytest.raises(UserError, match=f"accuracy random={value}"):
        ior(distilled=0.5, random=value)
    with pytest.raises(UserError, match=f"accuracy real={value}"):
        hlr(real=value, distilled=0.5)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_weights_outside_their_range_are_refused(weight: float) -> None:
    with pytest.raises(UserError, match=f"w={weight}: a weight from 0 to 1"):
        lrs(**LABELS, w=weight)
    with pytest.raises(UserError, match=f"g={weight}: a weight from 0 to 1"):
        ars(**AUGMENTATION, g=weight)
