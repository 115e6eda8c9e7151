"""Classes with fewer candidates than places."""

from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from ddselect.composition.compose import Composition, compose
from ddselect.composition.distilled import read_distilled
from ddselect.composition.repeats import endless
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.selection.base import SelectionInputs
from ddselect.selection.uninformed import RandomConfig
from tests.helpers.data import folder_index, write_folder

VIEW = 16
SIZES = {"a": (8, 8), "b": (20, 8)}


def row(image: str, x: int, y: int, side: int, kind: str = "crop") -> dict[str, object]:
    return {"id": image, "label": 1, "kind": kind, "x0": x, "y0": y, "x1": x + side, "y1": y + side, "rank": 0}


def place(patch: dict) -> tuple[object, ...]:
    return tuple(patch[name] for name in ("id", "x0", "y0", "x1", "y1"))


def test_every_other_box_comes_before_any_again() -> None:
    """Boxes of 4 pixels move by one pixel: 4 places of one in the corner of `a`, 6 of one at the upper edge of `b`."""
    rows = [row("a", 0, 0, 4), row("b", 5, 0, 4)]
    patches = list(islice(endless(rows, SIZES.__getitem__, 0), 30))
    assert patches[:2] == rows
    assert [patch["repeat"] for patch in patches[2:10]] == ["moved"] * 8
    assert [patch["repeat"] for patch in patches[10:]] == ["again"] * 20
    assert [patch["id"] for patch in patches[:8]] == ["a", "b"] * 4  # images in turn
    assert {place(p) for p in patches[:10]} == {
        *(("a", x, y, x + 4, y + 4) for x in (0, 1) for y in (0, 1)),
        *(("b", x, y, x + 4, y + 4) for x in (4, 5, 6) for y in (0, 1)),
    }
    assert [place(p) for p in patches[10:20]] == [place(p) for p in patches[20:]] == [place(p) for p in patches[:10]]


def test_a_whole_square_image_has_no_other_box_and_a_wide_one_has() -> None:
    rows = [row("a", 0, 0, 8, "image"), row("b", 6, 0, 8, "image")]
    patches = list(islice(endless(rows, SIZES.__getitem__, 0), 8))
    assert [p["id"] for p in patches] == ["a", "b", *"bbbb", "a", "b"]
    assert sorted(p["x0"] for p in patches[2:6]) == [4, 5, 7, 8]  # up to a quarter of the side
    assert {p["y0"] for p in patches} == {0}


def test_two_boxes_of_one_image_come_before_others_of_it_and_none_comes_twice() -> None:
    rows = [row("b", 2, 0, 4), row("b", 3, 1, 4), row("a", 0, 0, 4)]
    patches = list(islice(endless(rows, SIZES.__getitem__, 0), 30))
    assert patches[:3] == rows
    fresh = [patch for patch in patches if patch.get("repeat") != "again"]
    assert len({place(patch) for patch in fresh}) == len(fresh) > 10
    assert patches[: len(fresh)] == fresh  # nothing again before everything else


def test_another_seed_moves_otherwise() -> None:
    rows = [row("b", 5, 0, 4)]
    first, again, other = ([place(p) for p in islice(endless(rows, SIZES.__getitem__, seed), 6)] for seed in (0, 0, 1))
    assert first == again != other


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Three images of each class."""
    root = write_folder(tmp_path_factory.mktemp("few"), per_class=3)
    return folder_index(root, tmp_path_factory.mktemp("few-index")).split("train")


@pytest.mark.parametrize("whole", [0.0, 0.5, 1.0])
def test_a_composition_goes_on_and_says_so(few: Index, tmp_path: Path, whole: float) -> None:
    table = pa.concat_tables(RandomConfig("random", whole).rank(SelectionInputs(few, VIEW, 0)))

    def make(ipc: int) -> tuple[dict[str, object], torch.Tensor, list[dict]]:
        folder = tmp_path / str(ipc)
        facts = compose(few, table, Composition(2, whole), ipc, VIEW, 0, folder)
        distilled = read_distilled(folder)
        return facts, distilled.images, distilled.metadata

    fitting, small, _ = make(1)
    assert fitting["moved_boxes"] == 3 * (1 if whole < 1 else 0)  # four crops of three images
    assert ("told" in fitting) == (whole < 1)
    facts, large, metadata = make(20)
    [said] = facts["told"]  # type: ignore[misc]
    assert "3 classes have fewer candidates than places" in said
    patches = [patch for entry in metadata for patch in entry["patches"]]
    made_up = {name: sum(patch.get("repeat") == name for patch in patches) for name in ("moved", "again")}
    assert made_up == {"moved": facts["moved_boxes"], "again": facts["repeated_boxes"]}
    places = 3 * 20 * (1 if whole == 1 else 4) if whole in (0, 1) else 3 * (10 + 40)
    own = 9 * (2 if whole == 0.5 else 1)
    assert sum(made_up.values()) == places - own
    assert f"{facts['moved_boxes']} patches are other boxes" in said
    assert facts["short_classes"] == 3
    for label in range(3):
        assert torch.equal(large[20 * label], small[label])


def test_a_class_without_candidates_is_a_mistake(few: Index, tmp_path: Path) -> None:
    table = RandomConfig("random", 0.0).rank(SelectionInputs(few, VIEW, 0))[1]  # whole images of the first class alone
    with pytest.raises(UserError, match="class 'ant' has no candidates of kind crop"):
        compose(few, table, Composition(2, 0.5), 1, VIEW, 0, tmp_path)
