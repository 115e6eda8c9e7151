"""Many images: in memory if there is room, in a file without a name otherwise, and the same either way."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from ddselect.composition.compose import Composition, compose
from ddselect.composition.distilled import read_distilled
from ddselect.dataset.index import Index
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime import rows
from ddselect.runtime.rows import DiskRows, gathered
from ddselect.selection.base import SelectionInputs
from ddselect.selection.uninformed import RandomConfig
from ddselect.student.views import TrainingSet, Views


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_rows_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    many = torch.randint(0, 256, (50, 3, 7, 5)).to(dtype)
    found = DiskRows(iter(many), tmp_path)
    assert len(found) == 50
    for wanted in ([0], [49, 0, 7, 7], list(range(50))):
        assert torch.equal(found[torch.tensor(wanted)], many[wanted])
    assert list(tmp_path.iterdir()) == []  # nothing that a kill could leave


def test_turned_rows_are_written_in_order(tmp_path: Path) -> None:
    image = torch.arange(60).view(4, 5, 3).to(torch.uint8).permute(2, 0, 1)
    assert torch.equal(DiskRows([image, image + 1], tmp_path)[torch.tensor([1])][0], image + 1)


def test_what_fits_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = torch.rand(4, 10)
    assert torch.equal(gathered(iter(many), 4, 40), many)  # type: ignore[arg-type]
    monkeypatch.setattr(rows, "_IN_MEMORY", 159)
    large = gathered(iter(many), 4, 40, tmp_path)
    assert isinstance(large, DiskRows)
    assert torch.equal(large[torch.arange(4)], many)


def test_a_student_sees_the_same_of_a_set_that_is_too_large_for_the_memory(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = RandomConfig("random", 0.5).rank(SelectionInputs(animals, 16, 0))
    compose(animals, pa.concat_tables(table), Composition(2, 0.5), 4, 16, 0, tmp_path)
    protocol = ProtocolConfig("p", steps=6, batch_size=5, learning_rate=0.1)

    def views() -> Views:
        found = read_distilled(tmp_path, tmp_path)
        return Views(TrainingSet(found.images, found.parts, found.stitched, 2, 4), protocol, 0)

    small = views()
    monkeypatch.setattr(rows, "_IN_MEMORY", 1000)
    large = views()
    assert isinstance(large.data.images, DiskRows)
    for step in range(6):
        assert torch.equal(small.batch(step)[0], large.batch(step)[0])


def test_images_of_an_index(animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = animals.read_all(8)
    monkeypatch.setattr(rows, "_IN_MEMORY", 1000)
    assert torch.equal(animals.read_all(8, tmp_path)[torch.arange(len(animals))], small[:])  # type: ignore[index]
