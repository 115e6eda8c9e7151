"""DD-Ranking's scores from the students of a run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ddselect.composition.compose import Composition
from ddselect.evaluation.dd_ranking import ars, lrs
from ddselect.evaluation.twins import dd_ranking
from ddselect.experiment import Experiment, MethodConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.store import StageResult
from ddselect.runtime.trial import Trial
from ddselect.selection.uninformed import AllImagesConfig, RandomConfig
from ddselect.student.settings import StudentConfig

SOFT = ProtocolConfig("soft", steps=1)
HARD, PLAIN = SOFT.with_class_labels(), SOFT.without_augmentation()
NET = StudentConfig("net", "convnet3")
METHODS = {
    "mine": MethodConfig(RandomConfig("mine", 0.0), Composition(2, 0.0)),
    "random_image": MethodConfig(RandomConfig("random_image", 1.0), Composition(2, 1.0)),
    "all": MethodConfig(AllImagesConfig("all", 1.0), Composition(2, 1.0)),
}
TOP1: dict[tuple[str, str], tuple[int, int]] = {  # of seeds 0 and 1, in percent
    ("mine", SOFT.name): (60, 64), ("mine", HARD.name): (30, 40), ("mine", PLAIN.name): (50, 50),
    ("random_image", SOFT.name): (50, 40),
    ("random_image", PLAIN.name): (45, 30), ("all", SOFT.name): (99, 99), ("all", HARD.name): (90, 80),
}  # fmt: skip


def trained() -> list[Trial]:
    trials = []
    protocols = {protocol.name: protocol for protocol in (SOFT, HARD, PLAIN)}
    for (name, protocol), values in TOP1.items():
        for seed, value in enumerate(values):
            facts = {"top1_last": value, "training_images": 100 if name == "all" else 10}
            done = StageResult("student", "f", Path(), {"facts": facts}, False)
            trials.append(Trial(None, METHODS[name], seed, protocols[protocol], NET, None, {"student": done}))
    return trials


def experiment(seeds: list[int]) -> Experiment:
    parts: dict[str, Any] = {"methods": [*METHODS.values()], "seeds": seeds, "students": [NET], "protocol": SOFT}
    return cast(Experiment, SimpleNamespace(**parts))


def test_scores_are_means_over_students_of_the_same_seed() -> None:
    (row,) = dd_ranking(experiment([0, 1]), trained())
    assert (row["selection"], row["protocol"], row["student"], row["seeds"]) == ("mine", "soft", "net", 2)
    assert (row["images"], row["random_images"], row["real_images"]) == (10, 10, 100)
    assert row["hlr"] == pytest.approx((0.6 + 0.4) / 2)
    assert row["ior"] == pytest.approx((0.1 + 0.24) / 2)
    assert row["hlr_std"] == pytest.approx(0.2 / 2**0.5)
    robust = [
        lrs(real_hard=real, distilled_hard=hard, distilled=soft, random=random)
        for real, hard, soft, random in ((0.9, 0.3, 0.6, 0.5), (0.8, 0.4, 0.64, 0.4))
    ]
    assert row["lrs"] == pytest.approx(sum(robust) / 2)
    robust = [
        ars(distilled_augmented=a, random_augmented=b, distilled_plain=c, random_plain=d)
        for a, b, c, d in ((0.6, 0.5, 0.5, 0.45), (0.64, 0.4, 0.5, 0.3))
    ]
    assert row["ars"] == pytest.approx(sum(robust) / 2)


def test_one_seed_has_no_spread() -> None:
    (row,) = dd_ranking(experiment([1]), trained())
    assert (row["hlr"], row["hlr_std"]) == (pytest.approx(0.4), None)
