"""DD-Ranking in a run: the twins of its protocol under which it trains as well, and the scores that come of them."""

from collections.abc import Mapping, Sequence
from itertools import product
from statistics import mean, stdev
from typing import Any

from ddselect.config import Experiment, MethodConfig
from ddselect.evaluation.branch import Trial
from ddselect.evaluation.dd_ranking import NEEDED, RANDOM, REAL, ars, hlr, ior, lrs
from ddselect.protocol.recipe import ProtocolConfig


def protocols_for(experiment: Experiment, arm: MethodConfig) -> list[ProtocolConfig]:
    """The protocols of a run, and those twins of the chosen one that DD-Ranking needs from an arm; each once."""
    chosen, name = experiment.protocol, arm.selection.name
    twins = []
    if experiment.evaluation.dd_ranking and name != RANDOM:
        twins.append(chosen.with_class_labels())
    if experiment.evaluation.dd_ranking and name != REAL:
        twins.append(chosen.without_augmentation())
    return list({protocol.name: protocol for protocol in [*experiment.protocols, *twins]}.values())


def dd_ranking(experiment: Experiment, trained: Sequence[Trial]) -> list[dict[str, Any]]:
    """DD-Ranking's scores of every selection and student, but not of random images and all data themselves.

    Students of the same seed are set against each other, by their last top-1 as a fraction: the mean over seeds, and
    the sample standard deviation as ``<score>_std`` (None for one seed).
    """
    e, rows = experiment, []
    for arm, student in product(e.arms, e.students):
        if (name := arm.selection.name) in NEEDED:
            continue
        mine = [branch for branch in trained if branch.student.name == student.name]
        images = {branch.arm.selection.name: branch.training.facts["training_images"] for branch in mine}
        scores = [_scores(name, e.protocol, _top1(mine, seed)) for seed in e.seeds]
        rows.append(
            {
                "selection": name,
                "protocol": e.protocol.name,
                "student": student.name,
                "seeds": len(scores),
                "images": images[name],
                "random_images": images[RANDOM],
                "real_images": images[REAL],
                **_over_seeds(scores),
            }
        )
    return rows


def _top1(trained: Sequence[Trial], seed: int) -> dict[tuple[str, str], float]:
    """Last top-1 by selection and protocol, as a fraction."""
    mine = [branch for branch in trained if branch.seed == seed]
    return {(b.arm.selection.name, b.protocol.name): b.training.facts["top1_last"] / 100 for b in mine}


def _scores(name: str, chosen: ProtocolConfig, top1: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """The scores of one selection, student and seed."""
    hard, plain = chosen.with_class_labels().name, chosen.without_augmentation().name
    distilled, random = top1[name, chosen.name], top1[RANDOM, chosen.name]
    distilled_hard, real_hard = top1[name, hard], top1[REAL, hard]
    return {
        "hlr": hlr(real=real_hard, distilled=distilled_hard),
        "ior": ior(distilled=distilled, random=random),
        "lrs": lrs(real_hard=real_hard, distilled_hard=distilled_hard, distilled=distilled, random=random),
        "ars": ars(
            distilled_augmented=distilled,
            random_augmented=random,
            distilled_plain=top1[name, plain],
            random_plain=top1[RANDOM, plain],
        ),
    }


def _over_seeds(scores: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for key in scores[0]:
        values = [each[key] for each in scores]
        found |= {key: mean(values), f"{key}_std": stdev(values) if len(values) > 1 else None}
    return found
