"""The benchmark of ImageNet's size works at a small one."""

import importlib.util
from pathlib import Path

import pytest

from ddselect.selection.table import read_selection

BENCHMARK = Path(__file__).parents[2] / "experiments" / "scoring_cost" / "million.py"


def test_every_step_of_the_benchmark_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("million", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    million = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(million)
    monkeypatch.setattr(million, "DIMENSIONS", 8)

    million.write_index(tmp_path / "index", 80, classes=4)
    for step in million.STEPS.values():
        step(tmp_path)

    for selection in ("selection", "clustered"):
        ranked = read_selection(tmp_path / selection).to_pandas()
        counts = ranked.groupby(["label", "kind"]).size()
        assert counts.tolist() == [20] * 8  # each class's crops and whole images, one of each image
