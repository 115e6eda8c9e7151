"""The study on real images: its ways to choose on a few images of noise, its commands and its tables."""

import importlib.util
import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddselect.config import build_experiment
from ddselect.dataset.classes import class_list
from ddselect.runtime.files import read_json
from tests.helpers.configs import composed

REAL = Path(__file__).parents[2] / "experiments" / "real"
ORDERS = ("first", "random", "herding", "k_center", "clusters")


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"real_{Path(name).name}", REAL / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def choose() -> ModuleType:
    return _script("choose")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of noise of each class of CIFAR-10, two of which are validation images."""
    root, random = tmp_path_factory.mktemp("cifar"), np.random.default_rng(0)
    for name in class_list("cifar10"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{number:02}.png")
    return root


def test_every_way_gives_images_of_each_class(choose: ModuleType, photos: Path, tmp_path: Path) -> None:
    bench = choose.Bench(photos, tmp_path)
    assert len(bench.labels) == 100
    assert len(bench.test_labels) == 20
    for order in ORDERS:
        way = choose.Way("score+loss", 0.5, order, 3, 0, 0.8)
        rows = bench.rows(way)
        assert bench.labels[rows].tolist() == [label for label in range(10) for _ in range(3)]
        assert len({*rows.tolist()}) == 30
        of_all = {*bench.rows(replace(way, part=1.0)).tolist()}
        assert order == "random" or len(of_all & {*rows.tolist()}) < 30  # other images are seen
    own, none = bench.denoising.T
    np.testing.assert_allclose(bench.worths["score"] * none, none - own, atol=1e-6)
    best = bench.rows(choose.Way("difference", 0.3, "first", 1, 0))
    assert best.tolist() == [
        10 * label + int((none - own)[10 * label : 10 * label + 10].argmax()) for label in range(10)
    ]


def test_a_result_is_a_line_and_is_not_computed_again(
    choose: ModuleType, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(choose._protocol(), epochs=2)
    monkeypatch.setattr(choose, "_protocol", lambda: short)
    monkeypatch.setattr(choose, "FOUND", tmp_path / "found.jsonl")
    monkeypatch.setattr(sys, "argv", ["choose.py", str(photos), str(tmp_path), "--ways", "loss:.5:first", "--ipc", "1"])
    choose.main()
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [(line["rank"], line["seed"], line["part"]) for line in lines] == [("loss", 0, 1.0), ("loss", 1, 1.0)]
    assert all(0 <= line["top1"] <= 100 for line in lines)
    monkeypatch.delattr(choose.Bench, "accuracy")
    choose.main()


def test_every_part_of_the_study_is_a_run(photos: Path) -> None:
    study = _script("study")
    given = [f"theirs={photos}/seed{{seed}}/ipc{{ipc}}"]
    arguments = Namespace(folder=photos, seeds=3, given=given)
    for part, settings in study.PARTS.items():
        runs = [build_experiment(composed(*words)) for words in study.commands(arguments, part, 10, [])]
        [chosen] = [word[10:] for word in settings if word.startswith("selection=")] or ["ddselect"]
        assert {(run.methods[0].selection.name, run.ipc) for run in runs} == {(chosen, 10)}
        assert [seed for run in runs for seed in run.seeds] == [0, 1, 2]
        if part == "public":
            assert [run.methods[-1].selection.root for run in runs] == [
                f"{photos}/seed{seed}/ipc10" for seed in range(3)
            ]


def test_the_parts_of_a_gpu_at_a_small_scale(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "test").symlink_to(photos / "train")
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(photos), str(tmp_path), "--small"])
    gpu = _script("gpu")
    gpu.main()
    [student] = json.loads((tmp_path / "resnet18_ipc1.json").read_text())["results"]
    assert (student["student"], student["test_images"]) == ("resnet18", 120)
    assert read_json(tmp_path / "prior" / "unet" / "config.json")["block_out_channels"] == [8, 16, 32]
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: pytest.fail("made again"))
    gpu.main()


def _frozen(**accuracies: list[float]) -> dict[str, Any]:
    common = {"ipc": 10, "protocol": "rded", "student": "convnet3_bn", "test_images": 100}
    results = [
        common | {"selection": name, "seed": seed, "top1_last": top1}
        for name, found in accuracies.items()
        for seed, top1 in enumerate(found)
    ]
    checks = {"prior": {"top1": 80.0, "classes": 5}, "teacher": {"top1": 88.0}}
    return {"command": [], "commit": "0123456789", "results": results, **checks}


def test_a_table_has_mean_spread_and_the_error_of_the_paired_difference(tmp_path: Path) -> None:
    tables = _script("../tables")
    (tmp_path / "main_ipc10.json").write_text(json.dumps(_frozen(ours=[50.0, 52.0, 54.0], theirs=[49.0, 52.0, 51.0])))
    text = tables.study(tmp_path)
    assert "| ours | 52.0 ± 2.0 |  |" in text
    assert "| theirs | 50.7 ± 1.5 | +1.3 ± 0.9 |" in text  # 1, 0, 3: standard deviation 1.53, over the root of 3
    way = {"rank": "loss", "share": 0.2, "order": "first", "ipc": 1, "seed": 0}
    lines = [way | {"top1": 20.0}, way | {"top1": 22.0, "seed": 1}, way | {"top1": 30.0, "part": 0.5}]
    assert tables.ways(lines).splitlines()[2:] == [
        "| 1 | 100% | loss | 20% | first | 21.0 ± 1.4 | 2 |",
        "| 1 | 50% | loss | 20% | first | 30.0 | 1 |",
    ]
