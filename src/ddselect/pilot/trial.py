"""The pilot: two expensive scorings of a few images, and cheap ones measured against them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddselect.boxes.search import search_boxes
from ddselect.dataset.index import Index
from ddselect.pilot.fidelity import Agreement, agreement
from ddselect.pilot.settings import PilotConfig
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank
from ddselect.runtime.seeds import key64
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.candidates import candidates
from ddselect.scoring.run import candidates_of, scorer_of
from ddselect.scoring.settings import ScoringConfig

REFERENCE_BAND = [0.1, 0.7]  # that of scoring=reference: the closest published ancestor's
FIDELITY = 0.95  # least share of the reference's agreement with itself for a budget to be advised


def pilot_images(index: Index, pilot: PilotConfig) -> Index:
    """The images that are tried: some of each of some classes, the same whenever seed and content are."""
    order = sorted(range(len(index.class_folders)), key=lambda k: key64(pilot.seed, "pilot", index.class_folders[k]))
    rows = np.flatnonzero(np.isin(index.labels, order[: pilot.classes]))
    return candidates(index.take(rows), pilot.images, pilot.seed)


def run_pilot(
    index: Index,
    pilot: PilotConfig,
    scoring: ScoringConfig,
    score: Callable[[Index, ScoringConfig, Path], dict[str, object]],
    folder: Path,
) -> dict[str, object]:
    """Tries all budgets and advises the cheapest that is good enough.

    ``score`` scores images and finds their boxes into a folder, going on from what is there.

    Returns:
        ``images``; ``reference``, its cost; ``ceiling``, the agreement of the two references; ``rows``, one for each
        budget, cheapest first: its band, draws, network evaluations per image, agreement with the references as a share
        of the ceiling, and whether it is good enough; ``advice``, the row advised, or None.
    """
    images, plain = pilot_images(index, pilot), replace(scoring, cap=0)
    expensive = replace(
        plain,
        draws=pilot.reference,
        antithetic=False,
        band=REFERENCE_BAND,
        cross_draw_weight=0.0,
    )
    references = [folder / f"reference-{number}" for number in (1, 2)]
    for number, place in enumerate(references, 1):
        note(f"  reference {number}: {pilot.reference} draws")
        cost = score(images, replace(expensive, seed=scoring.seed + number), place)["network_evaluations_per_image"]
    budgets = []
    for draws in sorted(pilot.draws):
        for band in pilot.bands:
            weight, antithetic = plain.cross_draw_weight if draws > 1 else 0.0, plain.antithetic and draws % 2 == 0
            settings = replace(plain, draws=draws, band=list(band), antithetic=antithetic, cross_draw_weight=weight)
            place = folder / f"{draws}-draws-{'-'.join(map(str, band))}"
            note(f"  {draws} draws in {band}")
            budgets.append((settings, place, score(images, settings, place)["network_evaluations_per_image"]))
    if rank() > 0:
        return {}
    ceiling = agreement(*references)
    rows = []
    for settings, place, evaluations in budgets:
        found = mean_agreement([agreement(one, place) for one in references]).relative_to(ceiling)
        rows.append(
            {
                "band": settings.band,
                "draws": settings.draws,
                "antithetic": settings.antithetic,
                "evaluations": evaluations,
                **{name: round(value, 4) for name, value in vars(found).items()},
                "good": found.least >= FIDELITY,
            }
        )
    good = [row for row in rows if row["good"]]
    cheapest = [row for row in good if row["draws"] == good[0]["draws"]]
    advice = max(cheapest, key=lambda row: min(row[name] for name in vars(ceiling))) if cheapest else None
    return {
        "images": len(images),
        "reference": {"draws": pilot.reference, "evaluations": cost},
        "ceiling": {name: round(value, 4) for name, value in vars(ceiling).items()},
        "rows": rows,
        "advice": advice,
    }


def run(trial: Trial, folder: Path) -> Facts:
    """The pilot stage."""
    e, images = trial.experiment, candidates_of(trial)
    scorer = scorer_of(trial, images)

    def score(some: Index, settings: ScoringConfig, place: Path) -> dict[str, object]:
        facts = scorer(some, settings, place)
        return {**facts, **(search_boxes(some, place, e.boxes, place) if rank() == 0 else {})}

    return run_pilot(images, e.pilot, e.scoring, score, folder)


def mean_agreement(found: list[Agreement]) -> Agreement:
    """The mean of several."""
    return Agreement(**{name: float(np.mean([vars(one)[name] for one in found])) for name in vars(found[0])})
