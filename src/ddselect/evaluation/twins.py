"""DD-Ranking in a run: the twins of its protocol under which it trains as well, and the scores that come of them."""

from collections.abc import Sequence
from itertools import product
from statistics import mean, stdev
from typing import Any

from ddselect.evaluation.dd_ranking import NEEDED, RANDOM, REAL, SCORES, ars, hlr, ior, lrs
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.trial import Trial


def protocols_for(experiment: Any, method: Any) -> list[ProtocolConfig]:
    """The protocols of a run, and those twins of the chosen one that DD-Ranking needs from a method; each once."""
    chosen, name = experiment.protocol, method.selection.name
    twins = []
    if experiment.evaluation.dd_ranking and name != RANDOM:
        twins.append(chosen.with_class_labels())
    if experiment.evaluation.dd_ranking and name != REAL:
        twins.append(chosen.without_augmentation())
    return list({protocol.name: protocol for protocol in [*experiment.protocols, *twins]}.values())


def dd_ranking(experiment: Any, trained: Sequence[Trial]) -> list[dict[str, Any]]:
    """DD-Ranking's scores of every selection and student, but not of random images and all data themselves.

    Students of the same seed are set against each other, by their last top-1 as a fraction: the mean over seeds, and
    the sample standard deviation as ``<score>_std`` (None for one seed).
    """
    e, rows = experiment, []
    top1 = {
        (b.method.selection.name, b.protocol.name, b.student.name, b.seed): b.training.facts["top1_last"] / 100
        for b in trained
    }
    images = {b.method.selection.name: b.training.facts["training_images"] for b in trained}
    hard, plain = e.protocol.with_class_labels().name, e.protocol.without_augmentation().name
    for method, student in product(e.methods, e.students):
        if (name := method.selection.name) in NEEDED:
            continue
        scores = []
        for seed in e.seeds:

            def of(selection: str, protocol: str, student: str = student.name, seed: int = seed) -> float:
                return top1[selection, protocol, student, seed]

            distilled, random = of(name, e.protocol.name), of(RANDOM, e.protocol.name)
            distilled_hard, real_hard = of(name, hard), of(REAL, hard)
            scores.append(
                {
                    "hlr": hlr(real=real_hard, distilled=distilled_hard),
                    "ior": ior(distilled=distilled, random=random),
                    "lrs": lrs(real_hard=real_hard, distilled_hard=distilled_hard, distilled=distilled, random=random),
                    "ars": ars(
                        distilled_augmented=distilled,
                        random_augmented=random,
                        distilled_plain=of(name, plain),
                        random_plain=of(RANDOM, plain),
                    ),
                }
            )
        row: dict[str, Any] = {"selection": name, "protocol": e.protocol.name, "student": student.name}
        row |= {"seeds": len(scores), "images": images[name]}
        row |= {"random_images": images[RANDOM], "real_images": images[REAL]}
        for key in SCORES:
            values = [each[key] for each in scores]
            row |= {key: mean(values), f"{key}_std": stdev(values) if len(values) > 1 else None}
        rows.append(row)
    return rows
