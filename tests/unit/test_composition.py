"""Distilled images: nested over IPC, every pixel from where the provenance says."""

import json
from collections import Counter
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from ddselect.composition.compose import Composition, compose, mixed
from ddselect.composition.distilled import Distilled, class_of, read_distilled
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.selection.base import SelectionInputs
from ddselect.selection.uninformed import RandomConfig

VIEW = 16


@pytest.fixture(scope="module")
def table(animals: Index) -> pa.Table:
    material = SelectionInputs(animals, VIEW, 0)
    return pa.concat_tables(RandomConfig("random", 0.0, area=[0.1, 0.5]).rank(material))


def make(
    index: Index, table: pa.Table, folder: Path, whole: float, ipc: int | None, factor: int = 2, seed: int = 0,
    mix_classes: bool = False,
) -> Distilled:  # fmt: skip
    composition = Composition(factor, whole, mix_classes=mix_classes)
    facts = compose(index, table, composition, ipc, VIEW, seed, folder)
    distilled = read_distilled(folder)
    assert facts["images"] == len(distilled.labels)
    return distilled


@pytest.mark.parametrize("whole", [0.0, 0.3, 0.5, 1.0])
def test_a_larger_ipc_extends_a_smaller_one(animals: Index, table: pa.Table, tmp_path: Path, whole: float) -> None:
    largest = 7
    big = make(animals, table, tmp_path / "big", whole, largest)
    for ipc in (1, 2, 4):
        small = make(animals, table, tmp_path / str(ipc), whole, ipc)
        assert small.labels.tolist() == [label for label in range(3) for _ in range(ipc)]
        for label in range(3):
            first = big.images[largest * label : largest * label + ipc]
            assert torch.equal(small.images[ipc * label : ipc * (label + 1)], first)


@pytest.mark.parametrize(
    ("whole", "expected"), [(0.0, "......"), (0.5, ".X.X.X"), (1.0, "XXXXXX"), (0.34, "..X..X"), (0.3, "...X..")]
)
def test_whole_images_are_evenly_spread(whole: float, expected: str) -> None:
    composition = Composition(2, whole)
    assert "".join("X" if composition.is_whole(slot) else "." for slot in range(6)) == expected
    assert composition.count_whole(6) == expected.count("X")
    assert composition.count_whole(100) == round(100 * whole)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_every_patch_can_be_cut_again_from_its_source(
    animals: Index, table: pa.Table, tmp_path: Path, factor: int
) -> None:
    distilled = make(animals, table, tmp_path, 0.5, {1: 6, 2: 6, 4: 2}[factor], factor)
    labels = dict(zip(animals.ids, animals.labels.tolist(), strict=True))
    kinds = Counter()
    for image, label, entry in zip(distilled.images, distilled.labels.tolist(), distilled.metadata, strict=True):
        patches = entry["patches"]
        side = VIEW if patches[0]["kind"] == "image" else VIEW // factor
        assert len(patches) == (VIEW // side) ** 2
        assert len({tuple(p["cell"]) for p in patches}) == len(patches)
        for patch in patches:
            kinds[patch["kind"]] += 1
            assert labels[patch["source"]] == label
            with Image.open(animals.root / patch["source"]) as source:
                cut = source.convert("RGB").crop(tuple(patch["box"]))
                again = cut.resize((side, side), Image.Resampling.BICUBIC)
            row, column = (side * cell for cell in patch["cell"])
            cell = image[:, row : row + side, column : column + side].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(cell.astype(int), np.array(again), atol=2)
    assert set(kinds) == {"crop", "image"}


def test_no_patch_is_used_twice_and_ranks_go_in_order(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    distilled = make(animals, table, tmp_path, 0.5, 6)
    for label in range(3):
        for kind, count in (("crop", 12), ("image", 3)):
            entries = [e for e in distilled.metadata if e["label"] == label]
            ranks = [sorted(p["rank"] for p in e["patches"]) for e in entries if e["patches"][0]["kind"] == kind]
            assert [rank for image in ranks for rank in image] == list(range(count))


def test_the_best_crop_lands_in_every_quadrant(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    distilled = make(animals, table, tmp_path, 0.0, 7)
    cells = Counter(tuple(min(e["patches"], key=lambda p: p["rank"])["cell"]) for e in distilled.metadata)
    assert set(cells) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert max(cells.values()) < len(distilled.metadata) / 2


def test_seed_deals_the_cells(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    first, again, other = (
        make(animals, table, tmp_path / n, 0.0, 3, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    sources = [[sorted(p["source"] for p in e["patches"]) for e in d.metadata] for d in (first, other)]
    assert sources[0] == sources[1]


def test_all_images_whatever_the_ipc(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    distilled = make(animals, table, tmp_path, 1.0, None)
    assert len(distilled.images) == len(animals)
    assert {e["patches"][0]["source"] for e in distilled.metadata} == set(animals.ids)
    assert not distilled.stitched.any()


def test_files_are_a_lossless_image_folder_with_a_card(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    distilled = make(animals, table, tmp_path, 0.5, 2)
    root = tmp_path / "distilled"
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png")) == sorted(
        f"{name}/{slot:05d}.png" for name in ("ant", "bee", "cow") for slot in range(2)
    )
    lines = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    assert [line["class"] for line in lines] == ["ant", "ant", "bee", "bee", "cow", "cow"]
    assert distilled.stitched.tolist() == [True, False] * 3


def test_factor_must_divide_the_size(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"composition.factor=3 does not divide the image size 16"):
        make(animals, table, tmp_path, 0.0, 1, factor=3)
    assert not (tmp_path / "distilled").exists()


@pytest.mark.parametrize(("factor", "whole"), [(2, 0.0), (2, 0.5), (4, 0.3)])
def test_mixed_classes_deal_the_same_crops_to_other_images(
    animals: Index, table: pa.Table, tmp_path: Path, factor: int, whole: float
) -> None:
    def crops(distilled: Distilled) -> Counter[tuple[str, str, int, int]]:
        patches = [(p, e) for e in distilled.metadata for p in e["patches"]]
        return Counter((p["source"], str(p["box"]), class_of(p, e), p["rank"]) for p, e in patches)

    alone = make(animals, table, tmp_path / "alone", whole, 6, factor)
    dealt = make(animals, table, tmp_path / "mixed", whole, 6, factor, mix_classes=True)
    assert crops(alone) == crops(dealt)
    assert alone.parts.tolist() == [[label] for label in alone.labels.tolist()]
    assert dealt.parts.shape == (18, factor**2)
    label_of = dict(zip(animals.ids, animals.labels.tolist(), strict=True))
    for entry, parts, stitched in zip(dealt.metadata, dealt.parts, dealt.stitched, strict=True):
        own = [patch["label"] for patch in entry["patches"]]
        assert own == [label_of[patch["source"]] for patch in entry["patches"]]
        assert [animals.class_names[label] for label in own] == [patch["class"] for patch in entry["patches"]]
        assert entry["label"] in own
        assert set(own) == ({0, 1, 2} if stitched else {entry["label"]})  # the animals have three classes
        assert set(parts.tolist()) == set(own)


def test_mixed_classes_are_nested_and_every_pixel_is_from_where_it_says(
    animals: Index, table: pa.Table, tmp_path: Path
) -> None:
    big = make(animals, table, tmp_path / "big", 0.3, 7, mix_classes=True)
    small = make(animals, table, tmp_path / "small", 0.3, 4, mix_classes=True)
    for label in range(3):
        assert torch.equal(big.images[7 * label : 7 * label + 4], small.images[4 * label : 4 * label + 4])
    alone = make(animals, table, tmp_path / "alone", 0.3, 7)
    cells = {}
    for image, entry in zip(alone.images, alone.metadata, strict=True):
        for patch in entry["patches"]:
            cells[patch["source"], str(patch["box"]), patch["kind"]] = _cell(image, patch, len(entry["patches"]))
    for image, entry in zip(big.images, big.metadata, strict=True):
        for patch in entry["patches"]:
            pixels = _cell(image, patch, len(entry["patches"]))
            assert torch.equal(pixels, cells[patch["source"], str(patch["box"]), patch["kind"]])


def _cell(image: torch.Tensor, patch: dict[str, Any], places: int) -> torch.Tensor:
    size = VIEW // isqrt(places)
    row, column = patch["cell"]
    return image[:, row * size : (row + 1) * size, column * size : (column + 1) * size]


def test_classes_are_mixed_as_far_as_there_are_as_many() -> None:
    images = [[[{"kind": "crop", "label": label, "k": k} for k in range(4)]] for label in range(2)]
    for label, [patches] in enumerate(mixed(images, 0)):
        assert [patch["label"] for patch in patches] == [label, *[1 - label] * 3]
        assert [patch["k"] for patch in patches] == [0, 1, 2, 3]
    many = [[[{"kind": "crop", "label": label} for _ in range(4)]] for label in range(9)]
    assert all(len({patch["label"] for patch in patches}) == 4 for [patches] in mixed(many, 0))


def test_the_ranks_are_nested_across_a_change_of_the_share(animals: Index, table: pa.Table, tmp_path: Path) -> None:
    ranks: dict[int, dict[str, list[int]]] = {}
    for ipc, whole in ((2, 0.0), (4, 0.5), (6, 0.5)):
        metadata = make(animals, table, tmp_path / str(ipc), whole, ipc).metadata
        patches = [patch for entry in metadata if entry["label"] == 0 for patch in entry["patches"]]
        ranks[ipc] = {kind: sorted(p["rank"] for p in patches if p["kind"] == kind) for kind in ("crop", "image")}
    assert ranks == {
        2: {"crop": list(range(8)), "image": []},
        4: {"crop": list(range(8)), "image": [0, 1]},
        6: {"crop": list(range(12)), "image": [0, 1, 2]},
    }
