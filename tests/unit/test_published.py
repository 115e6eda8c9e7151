"""What others have published is shown for its own setting only."""

from ddselect.evaluation.results import published


def test_a_setting_has_the_numbers_published_for_it() -> None:
    found = published("imagenet1k", "soft", "resnet101", 50)
    assert [(row["method"], row["top1"]) for row in found] == [
        ("EDC", 64.9),
        ("D4M", 63.4),
        ("RDED", 61.2),
        ("SRe2L", 60.8),
    ]
    assert {row["student"] for row in found} == {"resnet101"}
    assert [row["top1"] for row in published("imagewoof", "hard", "resnetap10", 20)] == [45.8, 43.6, 41.1, 32.7]


def test_another_setting_has_none() -> None:
    assert published("imagenet1k", "hard", "resnet18", 10) == []
    assert published("imagenet1k", "soft", "resnet18", 20) == []
    assert published("cluttered_digits", "soft", "small_resnet16", 10) == []
