"""BPS: patterns that were planted, places and margins worked out by hand, and the method as a whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ddselect.composition.compose import Composition
from ddselect.config import MethodConfig
from ddselect.dataset.index import Index
from ddselect.embed.table import EmbedTable
from ddselect.runtime.errors import UserError
from ddselect.runtime.trial import Trial
from ddselect.selection.base import SelectionConfig, SelectionInputs
from ddselect.selection.bps import BPSConfig, bps_order, margin_order, patterns, places
from ddselect.selection.rded import RDEDConfig
from ddselect.selection.stage import SELECTION
from tests.helpers.selection import VIEW, Bench

BPS = BPSConfig("bps", 1.0)


def planted(sizes: list[int], spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Heaps of up to 31 points, neighbours all, each around its own axis, shuffled; and the heap of each point."""
    random = np.random.default_rng(0)
    heap = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = np.eye(len(sizes) + 2, dtype=np.float32)[heap]
    return points + spread * random.normal(size=points.shape).astype(np.float32), heap


def test_planted_patterns_are_found_the_largest_first() -> None:
    points, heap = planted([20, 31, 9])
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    found = patterns(unit, 0)
    assert [mine.tolist() for mine in found] == [np.flatnonzero(heap == k).tolist() for k in (1, 0, 2)]


def test_images_farther_than_half_a_cosine_are_patterns_of_their_own() -> None:
    """Cosines .6 and .4 from the first: an edge, and none."""
    unit = np.array([[1, 0, 0], [0.6, 0.8, 0], [0.4, 0, np.sqrt(1 - 0.16)]], np.float32)
    assert [mine.tolist() for mine in patterns(unit, 0)] == [[0, 1], [2]]
    assert [mine.tolist() for mine in patterns(unit[:1], 0)] == [[0]]


@pytest.mark.parametrize(
    ("sizes", "budget", "wanted"),
    [
        ([60, 30, 10], 10, [6, 3, 1]),
        ([34, 33, 33], 10, [4, 3, 3]),  # 3.4, 3.3, 3.3: one is missing
        ([5, 5, 5, 5], 6, [1, 1, 2, 2]),  # 1.5 each, rounded to 2: two are too many
        ([3, 3, 2, 1, 1], 1, [1, 0, 0, 0, 0]),  # .3 at most
        ([90, 4, 3, 3], 12, [12, 0, 0, 0]),  # 10.8, .48, .36, .36: one is missing
        ([2, 2, 1], 5, [2, 2, 1]),
    ],
)
def test_places_are_shares_of_the_budget(sizes: list[int], budget: int, wanted: list[int]) -> None:
    assert places(sizes, budget) == wanted


LOWER, UPPER = [0.90, 0.95, 1.00, 1.05, 1.10], [2.9, 2.95, 3.0, 3.05, 3.1]  # their means are 1 and 3


def test_margins_begin_above_the_mean_of_the_lower_component() -> None:
    """Of a hundred images the ten of highest entropy are two heaps, around 1 and 3; the others are at .1."""
    entropies = np.full(100, 0.1, np.float32)
    entropies[10:60:5] = [3.0, 1.1, 0.95, 3.1, 1.0, 0.9, 2.9, 1.05, 3.05, 2.95]
    found = margin_order(entropies, 0.1, 0)
    assert entropies[found[:10]].tolist() == pytest.approx([1.0, 1.05, 1.1, 0.95, 0.9, 3.1, 3.05, 3.0, 2.95, 2.9])
    assert found[10:].tolist() == [row for row in range(100) if entropies[row] < 0.5]  # as given: from the centre on


@pytest.mark.parametrize("tail", [0.0, 0.1, 0.2])
def test_the_tail_is_a_share_and_at_least_ten(tail: float) -> None:
    entropies = np.tile(np.array([*LOWER, *UPPER], np.float32), 7)[:70] + np.arange(70, dtype=np.float32) / 1e4
    found, count = margin_order(entropies, tail, 0), max(10, round(tail * 70))
    assert set(found[:count]) == set(np.argsort(entropies)[-count:])
    assert found[count:].tolist() == sorted(found[count:])


def test_a_pattern_of_few_images_is_all_tail() -> None:
    entropies = np.array([1.05, 3.0, 0.95, 3.1, 1.0, 0.9, 1.1], np.float32)
    assert margin_order(entropies, 0.1, 0).tolist() == [4, 0, 6, 2, 5, 3, 1]
    assert margin_order(entropies[:1], 0.1, 0).tolist() == [0]
    assert margin_order(np.zeros(14, np.float32), 0.1, 0).tolist() == list(range(14))  # nothing to tell apart
    assert sorted(margin_order(np.array([1, 1, 2], np.float32), 0.1, 0).tolist()) == [0, 1, 2]


def test_half_of_a_patterns_places_are_its_centre() -> None:
    """Patterns of 30 and 20, 10 places: 3 + 3 and 2 + 2."""
    points, heap = planted([20, 30])
    entropies = np.random.default_rng(1).random(50).astype(np.float32)
    order, found = bps_order(points, entropies, 10, 0.1, 0)
    assert sorted(order.tolist()) == list(range(50))
    assert found.tolist() == (1 - heap)[order].tolist()
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    for pattern, begin, half in ((1, 0, 3), (0, 6, 2)):
        mine = np.flatnonzero(heap == pattern)
        near = mine[np.argsort(np.linalg.norm(unit[mine] - unit[mine].mean(0), axis=1))]
        assert order[begin : begin + half].tolist() == near[:half].tolist()
        margins, rest = order[begin + half : begin + 2 * half], near[half:]
        assert set(margins) <= set(rest[np.argsort(-entropies[rest])][:10])
    assert order[10:].tolist() == sorted(order[10:])


@pytest.mark.parametrize(("budget", "golden"), [(1, [14]), (3, [14, 37, 35]), (7, [14, 43, 37, 46, 35, 25, 41])])
def test_golden(budget: int, golden: list[int]) -> None:
    """Places 4, 2, 1 of seven; the means of the lower components, fitted apart from this, are .988 and 1.077."""
    points, _ = planted([8, 24, 16])
    entropies = np.random.default_rng(2).exponential(size=48).astype(np.float32)
    assert bps_order(points, entropies, budget, 0.1, 0)[0][:budget].tolist() == golden


@pytest.mark.parametrize("budget", [12, 50])
def test_a_class_of_no_more_images_than_places_is_taken_whole(budget: int) -> None:
    points, heap = planted([5, 7])
    order, _ = bps_order(points, np.arange(12, dtype=np.float32), budget, 0.1, 0)
    assert sorted(order.tolist()) == list(range(12))
    assert heap[order].tolist() == [1] * 7 + [0] * 5


def test_one_pattern() -> None:
    points, _ = planted([30])
    order, found = bps_order(points, np.arange(30, dtype=np.float32), 4, 0.1, 0)
    assert set(found) == {0}
    assert (order[2:4] >= 18).all()  # of the rest, the ten of highest entropy


@pytest.fixture(scope="module")
def inputs(animals: Index, tmp_path_factory: pytest.TempPathFactory) -> SelectionInputs:
    bench = Bench(animals, tmp_path_factory.mktemp("bps"))
    return SelectionInputs(animals, VIEW, 0, None, bench.embedding(bench.scores), 5)


def test_whole_images_of_every_class_in_order(inputs: SelectionInputs, animals: Index) -> None:
    assert inputs.embedding is not None
    table = EmbedTable(inputs.embedding)
    for label, part in enumerate(BPS.rank(inputs)):
        mine = np.flatnonzero(animals.labels == label)
        features, entropies = (table.read(mine, field)["image"] for field in ("features", "entropy"))
        assert set(part["kind"].to_pylist()) == {"image"}
        assert sorted(part["id"].to_pylist()) == sorted(animals.ids[row] for row in mine)
        chosen = [animals.ids.index(image) for image in part["id"].to_pylist()]
        boxes = np.stack([part[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], 1)
        assert (boxes == animals.square_boxes()[chosen]).all()
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        assert len(patterns(unit, 0)) < 30
        assert entropies.std() > 0
    assert pa.concat_tables(BPS.rank(inputs)).equals(pa.concat_tables(BPS.rank(inputs)))


def test_what_it_reads_and_the_ipc_count(inputs: SelectionInputs, animals: Index, tmp_path: Path) -> None:
    bench, firsts = Bench(animals, tmp_path), []
    for changed in ({}, {"loss": 1}, {"features": 1}, {"entropy": 1}):
        again = replace(inputs, embedding=bench.embedding(bench.scores, **changed))
        firsts.append([part["id"].to_pylist()[:5] for part in BPS.rank(again)])
    assert firsts[0] == firsts[1]
    assert firsts[0] != firsts[2]
    assert firsts[0] != firsts[3]
    with pytest.raises(ValueError, match="needs an embedding"):
        BPS.rank(replace(inputs, embedding=None))


def test_a_selection_is_of_its_ipc(tmp_path: Path) -> None:
    """Another IPC has another fingerprint, as it has not where the selections of all IPCs are one order."""

    def key(method: SelectionConfig, ipc: int) -> object:
        class Run:
            ipc = 0
            dataset = type("D", (), {"image_size": 16})

        Run.ipc = ipc
        return SELECTION.key(Trial(Run, MethodConfig(method, Composition(1, 1.0)), 0, None, None))

    assert key(BPS, 1) != key(BPS, 10)
    assert key(RDEDConfig("rded"), 1) == key(RDEDConfig("rded"), 10)


def test_crops_are_refused() -> None:
    with pytest.raises(UserError, match="bps has whole images alone"):
        BPS.resolve(2, 0.5, soft=True)
    assert BPS.resolve(2, 1.0, soft=True) == BPS
