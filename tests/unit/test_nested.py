"""IPC 10's selection begins IPC 50's, for every nested option of ``conf/selection``, as distilled images."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hydra import compose as compose_config
from hydra import initialize_config_dir

from ddselect.composition.compose import Composition, compose
from ddselect.composition.distilled import Distilled, read_distilled
from ddselect.dataset.index import Index
from ddselect.options import conf_dir, options
from ddselect.schema import build
from tests.helpers.selection import VIEW, Bench


@pytest.fixture(scope="module")
def bench(animals: Index, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(animals, tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("option", [name for name in options("selection") if name not in ("all", "bps", "given")])
def test_a_larger_ipc_extends_a_smaller_one(option: str, bench: Bench, tmp_path: Path) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        method = build(compose_config("config", [f"selection={option}"]), "selection")
    table = pa.concat_tables(method.rank(bench.inputs(method)))

    def make(ipc: int, whole: float) -> Distilled:
        folder = tmp_path / f"{ipc}-{whole}"
        compose(bench.index, table, Composition(2, whole), ipc, VIEW, 0, folder)
        return read_distilled(folder)

    for whole in (0.0, 1.0):
        large = make(9, whole)  # 36 crops of 30 images: some are repeated
        for ipc in (1, 4):
            small = make(ipc, whole)
            for label in range(3):
                images = large.images[9 * label : 9 * label + ipc]
                assert torch.equal(small.images[ipc * label : ipc * (label + 1)], images)
                patches = [entry["patches"] for entry in large.metadata[9 * label : 9 * label + ipc]]
                assert [e["patches"] for e in small.metadata[ipc * label : ipc * (label + 1)]] == patches
