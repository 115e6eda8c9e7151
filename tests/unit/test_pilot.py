"""Agreement of scorings, and the budgets that a pilot advises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ddselect.dataset.index import Index
from ddselect.pilot import trial
from ddselect.pilot.fidelity import Agreement, agreement, intersection_over_union
from ddselect.pilot.settings import PilotConfig
from ddselect.pilot.trial import pilot_images, run_pilot
from ddselect.report.table import print_pilot
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_table
from ddselect.scoring.settings import ScoringConfig
from ddselect.scoring.table import MERGED


def write_scores(folder: Path, labels: list[int], crops: np.ndarray, boxes: np.ndarray | None = None) -> Path:
    """A merged score table; the image score is the crop's, negated."""
    boxes = np.tile([0, 0, 8, 8], (len(labels), 1)) if boxes is None else boxes
    rows = {
        "id": [f"{i}" for i in range(len(labels))],
        "label": labels,
        "image_score": [-float(c) for c in crops],
        "boxes": [[*map(int, box), 50, 50, 58, 58] for box in boxes],
        "scores": [[float(c), -9.0] for c in crops],
    }
    write_table(folder / MERGED, pa.table(rows))
    return folder


def test_a_scoring_agrees_with_itself(tmp_path: Path) -> None:
    one = write_scores(tmp_path / "a", [0] * 10 + [1] * 10, np.random.default_rng(0).random(20))
    assert vars(agreement(one, one)) == pytest.approx({"crops": 1, "images": 1, "recall": 1, "overlap": 1})


def test_correlations_are_within_classes_and_of_ranks(tmp_path: Path) -> None:
    labels = [0] * 5 + [1] * 5
    up = np.arange(5.0)
    one = write_scores(tmp_path / "a", labels, np.concatenate([up, 100 + up]))
    other = write_scores(tmp_path / "b", labels, np.concatenate([np.exp(up), -up]))  # same order; reverse order
    found = agreement(one, other)
    assert found.crops == pytest.approx(0)
    assert found.images == pytest.approx(0)
    assert found.recall == pytest.approx(0.5)  # one of five in each class: the same in the first, another in the second


def test_a_crop_at_another_place_is_not_recalled(tmp_path: Path) -> None:
    crops, boxes = np.arange(10.0), np.tile([0, 0, 8, 8], (10, 1))
    one = write_scores(tmp_path / "a", [0] * 10, crops, boxes)
    moved = boxes.copy()
    moved[9] += [4, 0, 4, 0]  # intersection over union 1/3
    moved[8] += [2, 0, 2, 0]  # 6/10
    found = agreement(one, write_scores(tmp_path / "b", [0] * 10, crops, moved))
    assert found.recall == 0.5
    assert found.overlap == pytest.approx((8 + 1 / 3 + 0.6) / 10)


def test_intersection_over_union_of_boxes_apart_is_zero() -> None:
    assert intersection_over_union(np.array([[0, 0, 2, 2]]), np.array([[3, 3, 5, 5]])).tolist() == [0]


def test_shares_of_a_ceiling() -> None:
    found = Agreement(0.4, 0.5, 0.6, 0.7).relative_to(Agreement(0.8, 0.0, -0.1, 0.5))
    assert found == Agreement(0.5, 0, 0, 1.4)
    assert found.least == 0


def test_scores_of_other_images_are_not_compared(tmp_path: Path) -> None:
    one, other = (write_scores(tmp_path / str(n), [0] * n, np.arange(float(n))) for n in (5, 6))
    with pytest.raises(ValueError, match="different images"):
        agreement(one, other)


PILOT = PilotConfig(classes=2, images=20, bands=[[0.1, 0.7], [0.3, 0.65]], draws=[8, 2])


class Noisy:
    """Scores with an error that falls with the draws; the second band is worth four times the draws."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], ScoringConfig]] = []

    def __call__(self, index: Index, settings: ScoringConfig, folder: Path) -> dict[str, object]:
        self.seen.append((index.ids, settings))
        worth = settings.draws * (4 if settings.band == [0.3, 0.65] else 1)
        truth = np.random.default_rng(0).standard_normal(len(index))
        error = np.random.default_rng(settings.seed + settings.draws).standard_normal(len(index)) / np.sqrt(worth)
        write_scores(folder, index.labels.tolist(), truth + error)
        return {"network_evaluations_per_image": 2 * settings.draws}


def test_the_cheapest_budget_that_is_good_enough_is_advised(
    animals: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Noisy()
    monkeypatch.setattr(trial, "FIDELITY", 0.9)
    facts = run_pilot(animals, PILOT, ScoringConfig(draws=4, antithetic=True, cap=3, seed=7), score, tmp_path)
    assert facts["images"] == 40
    assert [(row["draws"], row["band"], row["good"]) for row in facts["rows"]] == [
        (2, [0.1, 0.7], False),
        (2, [0.3, 0.65], False),
        (8, [0.1, 0.7], False),
        (8, [0.3, 0.65], True),
    ]
    assert facts["advice"] == facts["rows"][3]
    assert facts["reference"] == {"draws": 100, "evaluations": 200}
    assert 0.9 < facts["ceiling"]["crops"] < 1
    print_pilot(facts)
    assert "advised: scoring.draws=8 scoring.antithetic=true 'scoring.band=[0.3,0.65]'" in capsys.readouterr().out
    strict = run_pilot(
        animals, replace(PILOT, draws=[1], bands=[[0.1, 0.7]]), ScoringConfig(), Noisy(), tmp_path / "strict"
    )
    assert strict["advice"] is None
    print_pilot(strict)
    assert "no budget is good enough" in capsys.readouterr().out


def test_all_budgets_see_the_same_images_and_references_their_own_noise(animals: Index, tmp_path: Path) -> None:
    score = Noisy()
    run_pilot(animals, PILOT, ScoringConfig(draws=4, cap=3, seed=7, antithetic=True), score, tmp_path)
    assert len({tuple(ids) for ids, _ in score.seen}) == 1
    settings = [s for _, s in score.seen]
    first, second = settings[:2]
    assert len({first.seed, second.seed, settings[2].seed}) == 3
    assert replace(first, seed=0) == replace(second, seed=0)
    assert (first.draws, first.antithetic, first.band) == (100, False, [0.1, 0.7])
    assert {s.cap for s in settings} == {0}


def test_cross_terms_are_tried_where_there_are_pairs_and_no_part_of_the_references(
    animals: Index, tmp_path: Path
) -> None:
    score = Noisy()
    run_pilot(animals, replace(PILOT, draws=[1, 8], bands=[[0.1, 0.7]]), ScoringConfig(), score, tmp_path)
    assert [(s.draws, s.cross_draw_weight) for _, s in score.seen] == [(100, 0.0), (100, 0.0), (1, 0.0), (8, 0.5)]


def test_few_images_of_few_classes_are_tried(animals: Index) -> None:
    few = pilot_images(animals, PilotConfig(classes=2, images=7))
    assert sorted(np.bincount(few.labels, minlength=3).tolist()) == [0, 7, 7]
    assert few.class_names == animals.class_names
    assert pilot_images(animals, PilotConfig(classes=9, images=99)).ids == animals.ids
    others = [pilot_images(animals, PilotConfig(classes=1, images=5, seed=seed)).ids for seed in range(8)]
    assert len({image.split("/")[1] for ids in others for image in ids}) > 1


@pytest.mark.parametrize(
    "bad",
    [{"classes": 0}, {"images": 4}, {"reference": 0}, {"bands": []},
     {"draws": [0]}, {"draws": []}, {"bands": [[0.5, 0.4]]}],
)  # fmt: skip
def test_settings_refuse_what_makes_no_sense(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match="pilot"):
        PilotConfig(**bad)  # type: ignore[arg-type]
