"""Protocols: the rate, the batch, when to test, and the published recipe."""

from math import cos, pi

import pytest
from omegaconf import OmegaConf

from ddselect.config import build, conf_dir
from ddselect.protocol.recipe import Protocol
from ddselect.runtime.errors import UserError


def test_zeta_1_ends_near_zero_and_zeta_2_at_half() -> None:
    total = 1000
    for zeta, end in ((1.0, 0.0), (2.0, 0.5)):
        protocol = Protocol("p", steps=total, zeta=zeta)
        rates = [protocol.rate(step, total, 10) for step in range(total)]
        assert rates[0] == 1
        assert rates[-1] == pytest.approx(end, abs=2e-3)
        assert rates[500] == pytest.approx((1 + cos(pi / 2 / zeta)) / 2)
        assert rates == sorted(rates, reverse=True)


def test_rate_per_epoch_is_constant_within_one() -> None:
    protocol = Protocol("p", epochs=10, zeta=2.0, per_epoch=True)
    rates = [protocol.rate(step, 40, 4) for step in range(40)]
    for epoch in range(10):
        expected = 0.5 * (1 + cos(pi * epoch / (2 * 10)))  # METHOD: 0.5 (1 + cos(pi e / 2 E))
        assert rates[4 * epoch : 4 * epoch + 4] == [pytest.approx(expected)] * 4


def test_warm_up_rises_linearly() -> None:
    protocol = Protocol("p", steps=1000, warmup=4)
    assert [protocol.rate(step, 10**9, 1) for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


@pytest.mark.parametrize(
    ("ipc", "classes", "expected"),
    [(1, 10, 10), (9, 10, 10), (10, 10, 50), (49, 10, 50), (50, 10, 100), (200, 10, 100), (None, 10, 100),
     (1, 100, 20), (10, 100, 100), (50, 1000, 200), (1, 99, 10)],
)  # fmt: skip
def test_batch_rule_of_rded(ipc: int | None, classes: int, expected: int) -> None:
    assert Protocol("p", epochs=1).batch(ipc, classes, 10**6) == expected


def test_batch_is_never_above_the_set_and_can_be_given() -> None:
    assert Protocol("p", epochs=1).batch(1, 3, 3) == 3
    assert Protocol("p", epochs=1, batch_size=16).batch(50, 1000, 10**6) == 16
    assert Protocol("p", epochs=1, batch_size=16).batch(1, 10, 10) == 10


def test_total_steps() -> None:
    assert Protocol("p", epochs=300).total_steps(100, 50) == 600
    assert Protocol("p", epochs=300).total_steps(149, 50) == 600  # the smaller batch is left out
    assert Protocol("p", steps=77).total_steps(100, 50) == 77


@pytest.mark.parametrize("evaluations", [1, 6, 10])
@pytest.mark.parametrize("evaluate_from", [0.0, 0.8, 0.99])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 1601])
def test_tests_rise_to_the_end(evaluations: int, evaluate_from: float, total: int) -> None:
    marks = Protocol("p", steps=total, evaluations=evaluations, evaluate_from=evaluate_from).evaluation_steps(total)
    assert marks[-1] == total
    assert marks == sorted(set(marks))
    assert marks[0] >= max(1, int(evaluate_from * total))
    assert len(marks) <= min(evaluations, total)


def test_tests_are_evenly_spread() -> None:
    assert Protocol("p", steps=100, evaluations=4).evaluation_steps(100) == [25, 50, 75, 100]


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"labels": "x"}, "labels=x: choose one of soft, hard"), ({"loss": "l1"}, "loss=l1"),
     ({"mixing": "x"}, "mixing=x"),
     ({"steps": 0}, "either epochs or steps"), ({"epochs": 5}, "either epochs or steps"), ({"zeta": 0.5}, "zeta"),
     ({"temperature": 0.0}, "temperature"), ({"batch_size": -1}, "batch_size"),
     ({"learning_rate": -1.0}, "learning_rate"),
     ({"area": [1.0, 0.5]}, "area="), ({"ratio": [0.0, 1.0]}, "ratio="), ({"evaluations": 0}, "evaluations"),
     ({"evaluate_from": 1.0}, "evaluate_from")],
)  # fmt: skip
def test_values_out_of_range(bad: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=f"protocol.*{words}"):
        Protocol(**{"name": "p", "steps": 10, **bad})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [{"area": [1.0]}, {"ratio": [1.0, 1.0, 1.0]}, {"betas": [0.9]}, {"alpha": 0.0}, {"test_margin": 0.5},
     {"weight_decay": -1.0}, {"warmup": -1}],
)  # fmt: skip
def test_values_that_would_fail_late_in_a_run(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"protocol.*{next(iter(bad))}"):
        Protocol(**{"name": "p", "steps": 10, **bad})  # type: ignore[arg-type]


def test_rded_is_the_published_protocol() -> None:
    """The line of METHOD's table, for factor 2."""
    cfg = OmegaConf.create({"protocol": OmegaConf.load(conf_dir() / "protocol" / "rded.yaml")})
    rded = build(cfg, "protocol")
    assert (rded.labels, rded.epochs, rded.steps) == ("soft", 300, 0)
    assert rded.learning_rate == 0  # the student's own: 1e-3 and its exceptions
    assert (rded.betas, rded.weight_decay, rded.decay_vectors) == ([0.9, 0.999], 0.01, False)
    assert (rded.zeta, rded.per_epoch, rded.warmup) == (2.0, True, 0)
    assert rded.batch_size == 0  # the rule above
    assert (rded.loss, rded.temperature) == ("kl", 20.0)
    assert (rded.mixing, rded.alpha) == ("cutmix", 1.0)
    assert (rded.area, rded.shift, rded.flip, rded.shuffle) == ([0.0, 1.0], 0.0, True, True)
    assert rded.ratio == pytest.approx([3 / 4, 4 / 3], abs=1e-4)
    for size in (224, 56, 63):
        assert round(size * rded.test_margin) == size // 7 * 8
    epochs = [mark // 2 for mark in rded.evaluation_steps(600)]  # two steps per epoch
    assert epochs == [250, 260, 270, 280, 290, 300]  # every 10 epochs after 80 %
