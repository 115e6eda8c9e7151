"""Protocols: the rate, the batch, when to test, and what differs from a preset."""

from dataclasses import replace
from math import cos, pi

import pytest
import torch

from ddselect.evaluation.deviations import Case, deviations
from ddselect.options import options
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.errors import UserError
from ddselect.student.settings import StudentConfig
from ddselect.student.views import TrainingSet, Views
from tests.helpers.protocols import preset

PRESETS = {name: preset(name) for name in options("protocol")}
CASE = Case(ipc=10, classes=10, image_size=224, factor=2, student=StudentConfig("net", "resnet50", 0.5))


def test_zeta_1_ends_near_zero_and_zeta_2_at_half() -> None:
    total = 1000
    for zeta, end in ((1.0, 0.0), (2.0, 0.5)):
        protocol = ProtocolConfig("p", steps=total, zeta=zeta)
        rates = [protocol.rate(step, total, 10) for step in range(total)]
        assert rates[0] == 1
        assert rates[-1] == pytest.approx(end, abs=2e-3)
        assert rates[500] == pytest.approx((1 + cos(pi / 2 / zeta)) / 2)
        assert rates == sorted(rates, reverse=True)


def test_rate_per_epoch_is_constant_within_one() -> None:
    protocol = ProtocolConfig("p", epochs=10, zeta=2.0)
    rates = [protocol.rate(step, 40, 4) for step in range(40)]
    for epoch in range(10):
        expected = 0.5 * (1 + cos(pi * epoch / (2 * 10)))  # METHOD: 0.5 (1 + cos(pi e / 2 E))
        assert rates[4 * epoch : 4 * epoch + 4] == [pytest.approx(expected)] * 4


def test_warm_up_rises_linearly() -> None:
    protocol = ProtocolConfig("p", steps=1000, warmup=4)
    assert [protocol.rate(step, 10**9, 1) for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


@pytest.mark.parametrize(
    ("ipc", "classes", "expected"),
    [(1, 10, 10), (9, 10, 10), (10, 10, 50), (49, 10, 50), (50, 10, 100), (200, 10, 100), (None, 10, 100),
     (1, 100, 20), (10, 100, 100), (50, 1000, 200), (1, 99, 10), (1, 101, 10),
     (10, 21841, 50)],
)  # fmt: skip
def test_batch_rule_of_rded(ipc: int | None, classes: int, expected: int) -> None:
    assert ProtocolConfig("p", epochs=1).batch(ipc, classes, 10**6) == expected


def test_by_epochs_a_batch_is_never_above_the_set_and_can_be_given() -> None:
    assert ProtocolConfig("p", epochs=1).batch(1, 3, 3) == 3
    assert ProtocolConfig("p", epochs=1, batch_size=16).batch(50, 1000, 10**6) == 16
    assert ProtocolConfig("p", epochs=1, batch_size=16).batch(1, 10, 10) == 10


@pytest.mark.parametrize(("images", "shown"), [(16, 16), (17, 17), (15, 30), (10, 20), (8, 16), (3, 18), (1, 16)])
def test_by_steps_a_batch_above_the_set_shows_images_again(images: int, shown: int) -> None:
    protocol = ProtocolConfig("p", steps=5, batch_size=16)
    assert protocol.batch(1, 10, images) == 16
    assert protocol.images_per_pass(images, 16) == shown
    assert protocol.steps_per_epoch(images, 16) == 1
    assert protocol.total_steps(images, 16) == 5


def test_total_steps() -> None:
    assert ProtocolConfig("p", epochs=300).total_steps(100, 50) == 600
    assert ProtocolConfig("p", steps=77).total_steps(100, 50) == 77


def test_the_smaller_batch_is_kept_by_epochs_and_left_out_by_steps() -> None:
    assert ProtocolConfig("p", steps=5, batch_size=50).steps_per_epoch(149, 50) == 2
    protocol = ProtocolConfig("p", epochs=300)
    assert [protocol.steps_per_epoch(images, 50) for images in (50, 51, 100, 149)] == [1, 2, 2, 3]
    assert protocol.total_steps(149, 50) == 900


def test_steps_multiply_the_rate_at_fractions_of_the_training() -> None:
    by_step = ProtocolConfig("p", steps=12, schedule="steps", milestones=[0.333333, 0.75], gamma=0.5)
    assert [by_step.rate(step, 12, 4) for step in range(12)] == [1] * 4 + [0.5] * 5 + [0.25] * 3
    by_epoch = ProtocolConfig("p", epochs=3, schedule="steps", milestones=[0.5])
    assert [by_epoch.rate(step, 12, 4) for step in range(12)] == [1] * 4 + [0.2] * 8


@pytest.mark.parametrize("size", [1, 6, 7, 13, 20, 27, 32, 48, 64, 128, 224, 256])
def test_a_test_image_is_never_smaller_than_its_crop(size: int) -> None:
    margin = ProtocolConfig("p", steps=1, test_margin=0.0).margin(size)
    assert round(margin * size) == max(size, size // 7 * 8)
    assert ProtocolConfig("p", steps=1, test_margin=1.25).margin(size) == 1.25


def test_a_settled_protocol_needs_no_rules_and_stays_as_it_is() -> None:
    cases = [{"epochs": 8}, {"ipc": 10, "epochs": 4}, {"classes": 101, "batch_size": 512, "learning_rate": 0.5}]
    cases += [{"classes": 101, "weight_decay": 0.3}, {"classes": [50, 60], "area": 0.5}, {"images": 950, "area": 0.4}]
    protocol = ProtocolConfig("p", zeta=0.0, cases=cases, area=[0.0, 1.0], weight_decay=0.0)
    few = protocol.resolve("resnet18", 0.125, 9, 10)
    assert (few.epochs, few.zeta, few.batch_size, few.learning_rate, few.weight_decay) == (8, 1.0, 10, 0.125, 0)
    many = protocol.resolve("resnet101", 0.125, None, 101)
    assert (many.epochs, many.zeta, many.batch_size, many.learning_rate, many.weight_decay) == (4, 2.0, 512, 0.5, 0.3)
    assert many.resolve("resnet18", 9.0, 1, 5) == many
    for classes, smallest in ((49, 0), (50, 0.5), (60, 0.5), (61, 0), (95, 0.4)):
        assert protocol.resolve("resnet18", 0.125, 10, classes).area == [smallest, 1.0]


def test_what_a_protocol_gives_itself_goes_before_its_cases() -> None:
    case = {"epochs": 8, "batch_size": 7, "learning_rate": 0.5, "weight_decay": 0.3, "zeta": 3, "area": 0.5}
    given = {"batch_size": 9, "learning_rate": 0.1, "weight_decay": 0.2, "zeta": 1.5}
    protocol = ProtocolConfig("p", epochs=2, area=[0.25, 1.0], cases=[case], **given)  # type: ignore[arg-type]
    found = protocol.resolve("resnet18", 1.0, 10, 10)
    assert (found.epochs, found.area) == (2, [0.25, 1.0])
    assert {name: getattr(found, name) for name in given} == given
    assert ProtocolConfig("p", steps=5, cases=[case]).resolve("resnet18", 1.0, 10, 10).epochs == 0


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_does_not_differ_from_itself(name: str) -> None:
    assert deviations(preset(name), PRESETS, CASE) == []


def test_what_differs_from_the_preset_is_written_as_on_the_command_line() -> None:
    changed = preset(
        "rded", "protocol.epochs=100", "protocol.area=[0.25,1]", "protocol.flip=false", "protocol.loss=mse"
    )
    assert deviations(changed, PRESETS, CASE) == [
        "protocol.epochs=100 (rded: 300)",
        "protocol.loss=mse (rded: kl)",
        "protocol.area=[0.25,1.0] (rded: [0.5,1.0] at factor 2)",
        "protocol.flip=false (rded: true)",
    ]
    assert deviations(preset("rded_mixup", "protocol.alpha=1"), PRESETS, CASE) == [
        "protocol.alpha=1.0 (rded_mixup: 0.8)"
    ]
    assert deviations(ProtocolConfig("mine", steps=3), PRESETS, CASE) == [
        "protocol.name=mine (no protocol of conf/protocol)"
    ]


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("hard", "epochs=9", "epochs=9 (hard: 2000 epochs at IPC 10)"),
        ("hard", "steps=9", "steps=9 (hard: 2000 epochs at IPC 10)"),
        ("rded", "batch_size=9", "batch_size=9 (rded: 50 at IPC 10)"),
        ("rded", "learning_rate=9", "learning_rate=9.0 (rded: 0.5 for net)"),
        ("rd3", "zeta=9", "zeta=9.0 (rd3: 2.0 for net)"),
        ("rded", "test_margin=1", "test_margin=1.0 (rded: 1.14286 for 224 pixels)"),
        ("hard", "normalisation=teacher", "normalisation=teacher (hard: imagenet)"),
        ("hard", "weight_decay=9", "weight_decay=9.0 (hard: 0.0005 for 10 classes)"),
        ("bps", "area=[0.5,1]", "area=[0.5,1.0] (bps: [0.1,1.0] at IPC 10)"),
        ("rd3", "weight_decay=9", "weight_decay=9.0 (rd3: 0.0)"),
    ],
)
def test_where_a_rule_stands_in_the_preset_its_result_is_named(name: str, change: str, text: str) -> None:
    assert deviations(preset(name, f"protocol.{change}"), PRESETS, CASE) == [f"protocol.{text}"]


def test_steps_in_place_of_epochs_and_epochs_in_place_of_steps() -> None:
    assert deviations(preset("rded", "protocol.epochs=0", "protocol.steps=7"), PRESETS, CASE) == [
        "protocol.epochs=0 (rded: 300)",
        "protocol.steps=7 (rded: 300 epochs)",
    ]
    assert deviations(preset("digits", "protocol.epochs=2", "protocol.steps=0"), PRESETS, CASE) == [
        "protocol.epochs=2 (digits: 1600 steps)",
        "protocol.steps=0 (digits: 1600)",
    ]


@pytest.mark.parametrize("name", ["rded", "digits", "hard"])
def test_twins_differ_in_one_thing(name: str) -> None:
    protocol = preset(name)
    hard, plain = protocol.with_class_labels(), protocol.without_augmentation()
    assert (hard.labels, replace(hard, name=name, labels=protocol.labels)) == ("hard", protocol)
    assert (hard is protocol) == (name == "hard")
    assert plain.name == f"{name}+no_augmentation"
    assert plain.labels == protocol.labels
    assert plain.without_augmentation() is plain
    changed = {key for key, value in vars(plain).items() if value != getattr(protocol, key)}
    assert changed <= {"name", "mixing", "area", "ratio", "shift", "flip", "jitter", "lighting", "shuffle"}


def test_without_augmentation_an_image_is_seen_as_it_is() -> None:
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = TrainingSet(images, torch.arange(6) % 3, torch.ones(6, dtype=torch.bool), 2, 2)
    for name in ("rded", "hard"):
        protocol = preset(name).resolve("net", 0.1, 2, 3)
        seen = Views(data, protocol.without_augmentation(), 0).mixed(images, data.stitched, 3)
        torch.testing.assert_close(seen.images, images.float() / 255, atol=1e-5, rtol=0)
        assert (seen.share, seen.partner.tolist()) == (1, list(range(6)))
        assert not torch.allclose(
            Views(data, protocol, 0).mixed(images, data.stitched, 3).images, seen.images, atol=0.1
        )


def test_a_twin_departs_from_the_twin_of_the_preset() -> None:
    assert deviations(preset("rded").without_augmentation(), PRESETS, CASE) == []
    short = preset("rded", "protocol.epochs=4").with_class_labels()
    assert deviations(short, PRESETS, CASE) == ["protocol.epochs=4 (rded+class_labels: 300)"]


@pytest.mark.parametrize("evaluations", [1, 6, 10])
@pytest.mark.parametrize("evaluate_from", [0.0, 0.8, 0.99])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 1601])
def test_tests_rise_to_the_end(evaluations: int, evaluate_from: float, total: int) -> None:
    marks = ProtocolConfig("p", steps=total, evaluations=evaluations, evaluate_from=evaluate_from).evaluation_steps(
        total
    )
    assert marks[-1] == total
    assert marks == sorted(set(marks))
    assert marks[0] >= max(1, int(evaluate_from * total))
    assert len(marks) <= min(evaluations, total)


def test_tests_are_evenly_spread() -> None:
    assert ProtocolConfig("p", steps=100, evaluations=4).evaluation_steps(100) == [25, 50, 75, 100]


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"labels": "x"}, "labels=x: choose one of soft, hard"), ({"loss": "l1"}, "loss=l1"),
     ({"mixing": "x"}, "mixing=x"), ({"optimizer": "lamb"}, "optimizer=lamb: choose one of adamw, adam, sgd"),
     ({"schedule": "x"}, "schedule=x: choose one of cosine, cosine_linear, linear, steps"),
     ({"steps": 0}, "either epochs or steps"), ({"epochs": 5}, "either epochs or steps"), ({"zeta": 0.5}, "zeta"),
     ({"temperature": 0.0}, "temperature"), ({"batch_size": -1}, "batch_size"),
     ({"learning_rate": -1.0}, "learning_rate"),
     ({"area": [1.0, 0.5]}, "area="), ({"ratio": [0.0, 1.0]}, "ratio="), ({"evaluations": 0}, "evaluations"),
     ({"evaluate_from": 1.0}, "evaluate_from"), ({"steps": 0, "cases": [{"zeta": 1}]}, "either epochs or steps"),
     ({"cases": [{"epochs": 5}], "epochs": 5}, "either epochs or steps"), ({"ema": 1.0}, "ema")],
)  # fmt: skip
def test_values_out_of_range(bad: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=f"protocol.*{words}"):
        ProtocolConfig(**{"name": "p", "steps": 10, **bad})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [{"area": [1.0]}, {"ratio": [1.0, 1.0, 1.0]}, {"alpha": 0.0}, {"test_margin": 0.5},
     {"weight_decay": -1.0}, {"warmup": -1}, {"momentum": 1.0}, {"gamma": 0.0}, {"milestones": [0.9, 0.5]},
     {"milestones": [1.0]}, {"cases": [{"ipc": [1, 2, 0]}]}, {"cases": [{"epochs": 0}]}, {"cases": [{"classes": []}]},
     {"cases": [{"images": "x"}]}, {"jitter": -0.1}, {"lighting": -1.0}, {"cases": [{"batch_size": -1}]},
     {"cases": [{"gamma": 0.1}]}, {"cases": [{"zeta": True}]}, {"normalisation": "none"}, {"class_share": -1.0}],
)  # fmt: skip
def test_values_that_would_fail_late_in_a_run(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"protocol.*{next(iter(bad))}"):
        ProtocolConfig(**{"name": "p", "steps": 10, **bad})  # type: ignore[arg-type]


def test_statistics_of_the_student() -> None:
    assert ProtocolConfig("p", steps=1).statistics() is None  # the teacher's
    assert preset("digits_hard").statistics() == ([0.5] * 3, [0.5] * 3)
    assert preset("hard").statistics() == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
