"""The comparison over seeds."""

from typing import Any

import pytest

from ddselect.evaluation.results import comparison, composition_text


def entry(
    selection: str, last: float, best: float = 50.0, whole: float = 0.5, student: str = "net", protocol: str = "p"
) -> dict[str, Any]:
    return {
        "selection": selection,
        "student": student,
        "protocol": protocol,
        "composition": {"factor": 2, "whole": whole},
        "training_images": 100,
        "top1_last": last,
        "top1_best": best,
        "top5_last": 90.0,
    }


def test_mean_and_sample_standard_deviation_over_seeds() -> None:
    rows = comparison([entry("b", 40, 41), entry("a", 10), entry("b", 44, 45), entry("b", 48, 52)])
    assert [row.selection for row in rows] == ["b", "a"]
    b, a = rows
    assert (b.seeds, b.top1, b.top1_std, b.top1_best, b.top5) == (3, 44, pytest.approx(4), 46, 90)
    assert (a.seeds, a.top1, a.top1_std) == (1, 10, None)
    assert b.images == 100


def test_each_student_has_rows_of_its_own() -> None:
    rows = comparison([entry("a", 10), entry("a", 20, student="vit"), entry("a", 14), entry("a", 22, student="vit")])
    assert [(row.student, row.seeds, row.top1) for row in rows] == [("net", 2, 12), ("vit", 2, 21)]


def test_each_protocol_has_rows_of_its_own() -> None:
    rows = comparison(
        [entry("a", 10), entry("a", 20, protocol="hard"), entry("a", 14), entry("a", 22, protocol="hard")]
    )
    assert [(row.protocol, row.seeds, row.top1) for row in rows] == [("p", 2, 12), ("hard", 2, 21)]


@pytest.mark.parametrize(
    ("factor", "whole", "text"),
    [(2, 1.0, "whole images"), (2, 0.0, "2 x 2 crops"), (1, 0.0, "crops"), (3, 0.25, "75% 3 x 3 crops, 25% whole")],
)
def test_what_images_consist_of(factor: int, whole: float, text: str) -> None:
    assert composition_text(factor, whole) == text
