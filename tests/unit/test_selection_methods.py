"""Every method ranks every class with boxes inside the images; each does what its name says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file

from ddselect.dataset.images import Source, read_image
from ddselect.dataset.index import Index
from ddselect.embed.feature_table import FeatureTable, feature_shards
from ddselect.embed.settings import EmbedConfig
from ddselect.embed.stage import embed_candidates, patch_side
from ddselect.runtime.errors import UserError
from ddselect.runtime.seeds import numpy_generator
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection import confidence
from ddselect.selection.base import SelectionConfig
from ddselect.selection.coresets import (
    CCSConfig,
    ClustersConfig,
    HerdingConfig,
    KCenterConfig,
    ModerateConfig,
)
from ddselect.selection.diffusion import DiffusionConfig
from ddselect.selection.greedy import coverage_centric_order, herding_order, k_center_order, moderate_order
from ddselect.selection.random_boxes import random_boxes
from ddselect.selection.rded import RDEDConfig
from ddselect.selection.uninformed import AllImagesConfig, RandomConfig
from tests.helpers.models import tiny_teacher
from tests.helpers.selection import SHARD, VIEW, Bench

RDED = RDEDConfig("rded", 0.0)
METHODS = [
    DiffusionConfig("diffusion", 0.5),
    DiffusionConfig("top", 0.5, crop_pick="top", image_pick="top", confidence=0.0),
    DiffusionConfig("lead", 0.5, crop_pick="best", image_pick="best", lead=4, confidence=0.0),
    DiffusionConfig("features", 0.5, crop_pick="both", image_pick="style"),
    DiffusionConfig(
        "spread", 0.5, crop_pick="spread", image_pick="spread", lead=4, confidence=0.0, depth=7, spread_keep=0.6
    ),
    RDED,
    RDEDConfig("rded_published", 0.0, area=[0.08, 1.0], padded=True),
    HerdingConfig("herding", 1.0),
    KCenterConfig("kcenter", 1.0, depth=7),
    ModerateConfig("moderate", 1.0),
    ClustersConfig("clusters", 1.0),
    CCSConfig("ccs", 1.0),
    RandomConfig("random", 0.0, area=[0.1, 0.9]),
    AllImagesConfig("all", 1.0),
]


@pytest.fixture(scope="module")
def bench(animals: Index, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(animals, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def scores(bench: Bench) -> Path:
    return bench.scores


@pytest.fixture(scope="module")
def features(bench: Bench, scores: Path) -> Path:
    return bench.features(scores).folder


def test_features_are_those_of_the_cuts(animals: Index, scores: Path, features: Path) -> None:
    crops, teacher = crops_of(read_scores(scores)), tiny_teacher(3)
    table = FeatureTable(feature_shards(features, len(animals), SHARD), crops.starts)
    rows = np.array([0, 24, 25, 61, 89])
    found = table.read(rows)
    assert found["image"].shape[0] == 5
    assert found["crop"].shape[0] == 9  # the first image has one box
    place = 0
    for number, row in enumerate(rows.tolist()):
        path = animals.root / animals.ids[row]
        whole = teacher.features(read_image(Source(path), None, VIEW)[None] / 255)
        np.testing.assert_allclose(found["image"][number], whole[0].numpy(), atol=2e-3)  # kept as fp16
        for box in crops.boxes[crops.starts[row] : crops.starts[row + 1]].tolist():
            cut = read_image(Source(path), tuple(box), patch_side(crops, animals, VIEW))
            np.testing.assert_allclose(found["crop"][place], teacher.features(cut[None] / 255)[0].numpy(), atol=2e-3)
            place += 1


def test_features_go_on_where_they_stopped(
    animals: Index, scores: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shard in features.glob("shard-0000[02]*"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    seen, teacher = [], tiny_teacher(3)
    direct = teacher.features
    monkeypatch.setattr(teacher, "features", lambda images: seen.append(len(images)) or direct(images))
    crops, settings = crops_of(read_scores(scores)), EmbedConfig("teacher", shard_size=25, batch_size=25)
    embed_candidates(animals, crops, teacher, settings, VIEW, TrainerConfig().parallel, tmp_path)
    assert seen == [50, 25, 30, 15]  # crops and whole images of the second and the last of four shards
    for shard in features.glob("shard-*"):
        one, other = load_file(shard), load_file(tmp_path / shard.name)
        for kind in one:
            np.testing.assert_allclose(one[kind], other[kind], atol=2e-3)


def rows_of(method: SelectionConfig, bench: Bench, seed: int = 0) -> list[dict]:
    return pa.concat_tables(method.rank(bench.material(method, seed))).to_pylist()


def box(row: dict) -> tuple[int, int, int, int]:
    return row["x0"], row["y0"], row["x1"], row["y1"]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_class_is_ranked_with_boxes_inside(method: SelectionConfig, bench: Bench, animals: Index) -> None:
    rows = rows_of(method, bench)
    sizes = dict(zip(animals.ids, animals.sizes().tolist(), strict=True))
    labels = dict(zip(animals.ids, animals.labels.tolist(), strict=True))
    for row in rows:
        width, height = sizes[row["id"]]
        assert 0 <= row["x0"] < row["x1"] <= width
        assert 0 <= row["y0"] < row["y1"] <= height
        assert row["label"] == labels[row["id"]]
        if row["kind"] == "image":
            assert row["x1"] - row["x0"] == row["y1"] - row["y0"] == min(width, height)
    for label in range(3):
        for kind in ("crop", "image"):
            mine = [row for row in rows if (row["label"], row["kind"]) == (label, kind)]
            assert [row["rank"] for row in mine] == list(range(len(mine)))
            assert {row["id"] for row in mine} == {i for i in animals.ids if labels[i] == label}
            assert len(mine) == len({(row["id"], box(row)) for row in mine})
    assert rows_of(method, bench) == rows


@pytest.mark.parametrize("method", [m for m in METHODS if m.name not in ("top", "spread")], ids=lambda m: m.name)
def test_another_seed_selects_otherwise(method: SelectionConfig, bench: Bench) -> None:
    first, other = rows_of(method, bench, 0), rows_of(method, bench, 1)
    assert [(r["id"], box(r)) for r in first if r["kind"] == "crop"] != [
        (r["id"], box(r)) for r in other if r["kind"] == "crop"
    ]


@pytest.mark.parametrize("padded", [False, True])
def test_rded_keeps_the_crop_of_lowest_teacher_loss(animals: Index, bench: Bench, padded: bool) -> None:
    method, teacher = RDEDConfig("rded", 0.0, crops=4, size=0.5, area=[0.2, 0.6], padded=padded), tiny_teacher(3)
    boxes = [random_boxes(animals, [0.2, 0.6], VIEW, numpy_generator(3, "rded", k)) for k in range(4)]

    def loss(row: int, place: np.ndarray) -> float:
        image = read_image(Source(animals.root / animals.ids[row]), tuple(place.tolist()), 8)[None] / 255
        x = (image - 0.5) / 0.5
        if padded:
            x = F.pad(x, (4, 4, 4, 4))  # zeros after normalisation, to the full view
        with torch.no_grad():
            logits = teacher.network.fc(teacher.network.body(teacher.network.stem(x)).mean((2, 3)))[0]
        return float(logits.logsumexp(0) - logits[animals.labels[row]])

    crops = {r["id"]: r for r in rows_of(method, bench, 3) if r["kind"] == "crop"}
    for row in range(0, len(animals), 4):
        losses = [loss(row, boxes[k][row]) for k in range(4)]
        found = crops[animals.ids[row]]
        assert list(box(found)) == boxes[int(np.argmin(losses))][row].tolist()
        assert found["score"] == pytest.approx(-min(losses), abs=1e-4)
    for label in range(3):
        ranked = sorted((r for r in crops.values() if r["label"] == label), key=lambda r: r["rank"])
        assert [r["score"] for r in ranked] == sorted((r["score"] for r in ranked), reverse=True)


def test_the_teachers_losses_go_on_where_they_stopped(
    animals: Index, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddselect.selection import teacher_losses

    method, make_trainer = RDEDConfig("rded", 0.0, crops=2), TrainerConfig().parallel
    monkeypatch.setattr(teacher_losses, "_SHARD", 40)
    monkeypatch.setattr(teacher_losses, "_BATCH", 30)
    whole = tmp_path / "whole"
    teacher_losses.judge_crops(animals, tiny_teacher(3), method, VIEW, 0, make_trainer, whole)
    (tmp_path / "rest").mkdir()
    (first, *_) = sorted(whole.glob("shard-*"))
    (tmp_path / "rest" / first.name).write_bytes(first.read_bytes())
    teacher, seen = tiny_teacher(3), []
    forward = teacher.forward
    monkeypatch.setattr(teacher, "forward", lambda images: seen.append(len(images)) or forward(images))
    teacher_losses.judge_crops(animals, teacher, method, VIEW, 0, make_trainer, tmp_path / "rest")
    assert sum(seen) == 3 * 50  # two crops and the whole of those that are not in the first shard
    assert read_scores(tmp_path / "rest").equals(read_scores(whole))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_places_by_score_and_by_the_teachers_loss_are_weighted(share: float, animals: Index, bench: Bench) -> None:
    """Every candidate's place, worst to best, by the prior and by the teacher, who sees crops at their own size."""
    top = DiffusionConfig("top", 0.5, crop_pick="top", image_pick="top", confidence=share)
    teacher, size = tiny_teacher(3), patch_side(crops_of(read_scores(bench.scores)), animals, VIEW)
    rows = rows_of(top, bench)

    def loss(row: dict) -> float:
        source = Source(animals.root / row["id"])
        image = read_image(source, box(row), size) if row["kind"] == "crop" else read_image(source, None, VIEW)
        with torch.no_grad():
            return float(F.cross_entropy(teacher(image[None] / 255), torch.tensor([row["label"]])))

    for label in range(3):
        for kind in ("crop", "image"):
            mine = [row for row in rows if (row["label"], row["kind"]) == (label, kind)]
            scores, losses = [row["score"] for row in mine], [loss(row) for row in mine]
            by_score, by_loss = np.argsort(np.argsort(scores)), np.argsort(np.argsort(-np.array(losses)))
            worth = (1 - share) * by_score + share * by_loss
            assert np.diff(worth).max() <= 1e-6
            assert len(set(worth.tolist())) > 1


def test_the_teachers_confidence_goes_on_where_it_stopped(
    animals: Index, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidence, "_SHARD", 40)
    monkeypatch.setattr(confidence, "_BATCH", 30)
    crops, make_trainer = crops_of(read_scores(bench.scores)), TrainerConfig().parallel
    confidence.ask_teacher(animals, crops, tiny_teacher(3), VIEW, make_trainer, tmp_path / "whole")
    (tmp_path / "rest").mkdir()
    first, *rest = sorted((tmp_path / "whole").glob("shard-*"))
    (tmp_path / "rest" / first.name).write_bytes(first.read_bytes())
    teacher, seen = tiny_teacher(3), []
    forward = teacher.forward
    monkeypatch.setattr(teacher, "forward", lambda images: seen.append(len(images)) or forward(images))
    confidence.ask_teacher(animals, crops, teacher, VIEW, make_trainer, tmp_path / "rest")
    assert sum(seen) == 3 * 50  # two crops and the whole of those that are not in the first shard
    for shard in rest:
        assert (tmp_path / "rest" / shard.name).read_bytes() == shard.read_bytes()


def test_a_method_that_lacks_the_teachers_confidence_says_so(bench: Bench) -> None:
    method = DiffusionConfig("diffusion", 0.5)
    with pytest.raises(ValueError, match="needs the teacher's confidence"):
        method.rank(replace(bench.material(method), confidence=None))
    with pytest.raises(ValueError, match="needs styles"):
        method.rank(replace(bench.material(method), styles=None))


ORDERS: dict[str, Callable[[np.ndarray, np.ndarray, int, str], np.ndarray]] = {
    "herding": lambda points, _, label, kind: herding_order(points, 400),
    "kcenter": lambda points, _, label, kind: k_center_order(points, 7),
    "moderate": lambda points, _, label, kind: moderate_order(points),
    "ccs": lambda _, losses, label, kind: coverage_centric_order(
        losses, 0.3, 50, numpy_generator(0, "strata", kind, label)
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_coreset_is_one_of_the_class_and_kind(name: str, animals: Index, bench: Bench) -> None:
    """Its candidates are the crops that RDED keeps and the whole images, each kind in its own features and losses."""
    method = next(method for method in METHODS if method.name == name)
    rows, rded = rows_of(method, bench), rows_of(RDED, bench)
    scores = bench.losses(RDED, 0)
    crops = crops_of(read_scores(scores))
    table = FeatureTable(bench.features(scores), crops.starts)
    for label in range(3):
        mine = np.flatnonzero(animals.labels == label)
        embedded = table.read(mine)
        for kind in ("crop", "image"):
            here, there = ([r for r in found if (r["label"], r["kind"]) == (label, kind)] for found in (rows, rded))
            assert {(r["id"], box(r), r["score"]) for r in here} == {(r["id"], box(r), r["score"]) for r in there}
            losses = {r["id"]: -r["score"] for r in there}
            order = ORDERS[name](
                embedded[kind], np.array([losses[animals.ids[row]] for row in mine], np.float32), label, kind
            )
            assert [r["id"] for r in here[: len(order)]] == [animals.ids[mine[place]] for place in order]


@pytest.mark.parametrize("keep", [0.5, 0.8, 1.0])
def test_keep_moves_the_lowest_scores_to_the_end(bench: Bench, keep: float) -> None:
    method = DiffusionConfig("diffusion", 0.5, keep=keep, confidence=0.0)
    rows = rows_of(method, bench)
    for label in range(3):
        for kind in ("crop", "image"):
            mine = [r for r in rows if (r["label"], r["kind"]) == (label, kind)]
            stay = round(keep * len(mine))
            scores = [r["score"] for r in mine]
            assert set(scores[:stay]) == set(sorted(scores, reverse=True)[:stay])
            assert scores[stay:] == sorted(scores, reverse=True)[stay:]
            assert {r["cluster"] for r in mine[stay:]} <= {-1}
            assert -1 not in {r["cluster"] for r in mine[:stay]}


def test_diffusion_by_clusters_is_more_than_the_top(bench: Bench) -> None:
    top = rows_of(METHODS[1], bench)
    clustered = rows_of(METHODS[0], bench)
    for label in range(3):
        scores = [r["score"] for r in top if (r["label"], r["kind"]) == (label, "image")]
        assert scores == sorted(scores, reverse=True)
    images = [[r["id"] for r in rows if r["kind"] == "image"][:10] for rows in (top, clustered)]
    assert images[0] != images[1]


def test_crops_lead_by_score_and_images_do_not(bench: Bench) -> None:
    (lead,) = (method for method in METHODS if method.name == "lead")
    top, rows = rows_of(METHODS[1], bench), rows_of(lead, bench)
    plain = rows_of(DiffusionConfig("both", 0.5, crop_pick="best", image_pick="best", confidence=0.0), bench)

    def of(found: list[dict], label: int, kind: str) -> list[dict]:
        return [{**r, "cluster": 0} for r in found if (r["label"], r["kind"]) == (label, kind)]

    for label in range(3):
        assert of(rows, label, "crop")[:4] == of(top, label, "crop")[:4]
        assert of(rows, label, "crop") != of(plain, label, "crop")
        assert of(rows, label, "image") == of(plain, label, "image")


def test_spread_takes_the_farthest_of_those_that_stay(animals: Index, bench: Bench) -> None:
    """After the leading crops, or the image nearest to the mean, each is the farthest from those before."""
    (method,) = (method for method in METHODS if method.name == "spread")
    table, crops = FeatureTable(bench.features(bench.scores), (of := crops_of(read_scores(bench.scores))).starts), {}
    features = table.read(np.arange(len(animals)))
    for number, (row, corners) in enumerate(zip(of.rows, of.boxes.tolist(), strict=True)):
        crops[animals.ids[row], *corners] = features["crop"][number]
    images = dict(zip(animals.ids, features["image"], strict=True))
    for part in method.rank(bench.material(method)):
        rows = part.to_pylist()
        crop = rows[0]["kind"] == "crop"
        scores = [row["score"] for row in rows]
        best = sorted(scores, reverse=True)
        stay = round(0.6 * len(rows))
        assert set(scores[:stay]) == set(best[:stay])
        assert scores[7:stay] == sorted(scores[7:stay], reverse=True)
        assert scores[stay:] == best[stay:]
        points = np.array([crops[row["id"], *box(row)] if crop else images[row["id"]] for row in rows[:stay]])
        if crop:
            assert scores[:4] == best[:4]
        else:
            assert ((points - points.mean(0)) ** 2).sum(1).argmin() == 0
        for number in range(4 if crop else 1, 7):
            distance = ((points[:, None] - points[None, :number]) ** 2).sum(2).min(1)
            assert distance[number] == pytest.approx(distance.max(), rel=1e-4)


@pytest.mark.parametrize(
    ("whole", "soft", "own", "pick"),
    [
        (1.0, True, None, "spread"),
        (0.5, True, None, "spread"),
        (0.0, True, None, "style"),
        (1.0, False, None, "style"),
        (1.0, True, "top", "top"),
    ],
)
def test_how_whole_images_are_taken_follows_from_the_labels(whole: float, soft: bool, own: str, pick: str) -> None:
    resolved = DiffusionConfig("diffusion", image_pick=own).resolve(whole, soft)
    assert resolved.picks == {"crop": "style", "image": pick}
    assert resolved.needs_features == (pick == "spread")


def test_random_crops_have_the_area_and_go_everywhere(animals: Index) -> None:
    random, corners = np.random.default_rng(0), []
    square = [row for row in range(len(animals)) if animals.sizes_at(row) == (32, 32)]
    for _ in range(100):
        boxes = random_boxes(animals, [0.25, 0.25], VIEW, random)[square]
        assert ((boxes[:, 2:] - boxes[:, :2]) == 16).all()
        corners += boxes[:, :2].ravel().tolist()
    assert set(corners) == set(range(0, 17, 2))  # every pixel of the 16-pixel view, both ends included
    sides = np.concatenate(
        [np.diff(random_boxes(animals, [0.1, 0.9], VIEW, random)[square][:, ::2]) for _ in range(50)]
    )
    assert sides.min() == 2 * 5  # sqrt(.1) * 16 = 5.06 view pixels
    assert sides.max() == 2 * 15


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DiffusionConfig("d", 1.5), "selection.whole=1.5"),
        (lambda: DiffusionConfig("d", 0.5, keep=0.0), "selection.keep=0.0"),
        (
            lambda: DiffusionConfig("d", 0.5, crop_pick="x"),
            "selection.crop_pick=x: choose style, spread, best, nearest, both or top",
        ),
        (lambda: DiffusionConfig("d", 0.5, lead=-1), "selection.lead=-1"),
        (lambda: DiffusionConfig("d", 0.5, confidence=1.5), "selection.confidence=1.5"),
        (lambda: DiffusionConfig("d", 0.5, depth=0), "selection.depth=0"),
        (lambda: DiffusionConfig("d", 0.5, clusters_per_pick=0), "selection.clusters_per_pick=0"),
        (lambda: ClustersConfig("c", 0.5, clusters_per_pick=-1), "selection.clusters_per_pick=-1"),
        (lambda: HerdingConfig("h", 0.5, depth=0), "selection.depth=0"),
        (lambda: CCSConfig("c", 0.5, pruned=1.0), "selection.pruned=1.0"),
        (lambda: CCSConfig("c", 0.5, strata=0), "selection.strata=0"),
        (lambda: RDEDConfig("r", 0.0, crops=0), "selection.crops=0"),
        (lambda: RDEDConfig("r", 0.0, size=1.5), "selection.size=1.5"),
        (lambda: RDEDConfig("r", 0.0, area=[0.5, 0.2]), "selection.area="),
        (lambda: RandomConfig("r", 0.0, area=[0.0, 0.2]), "selection.area="),
    ],
)
def test_values_out_of_range(make: Callable[[], SelectionConfig], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize("kind", [RDEDConfig, RandomConfig])
def test_area_needs_two_shares(kind: type[RDEDConfig]) -> None:
    with pytest.raises(UserError, match=r"selection.area="):
        kind("x", 0.0, area=[0.5])


def test_images_of_a_selection_are_files_of_the_dataset(bench: Bench, animals: Index) -> None:
    for row in rows_of(RDED, bench)[:5]:
        with Image.open(animals.root / row["id"]) as image:
            assert image.size == animals.sizes_at(animals.ids.index(row["id"]))
