"""Every method ranks every class with boxes inside the images; each does what its name says."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from ddselect.dataset.images import Source, read_image
from ddselect.dataset.index import Index
from ddselect.embed.table import EmbedTable, embed_shards
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import write_tensors
from ddselect.runtime.seeds import numpy_generator
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection import ddselect, teacher_crops
from ddselect.selection.base import SelectionConfig
from ddselect.selection.coresets import CCSConfig, ClustersConfig, HerdingConfig, KCenterConfig, ModerateConfig
from ddselect.selection.ddselect import DDSelectConfig
from ddselect.selection.diffusion import DiffusionConfig, TopScoreConfig
from ddselect.selection.greedy import coverage_centric_order, herding_order, k_center_order, moderate_order
from ddselect.selection.random_boxes import random_boxes
from ddselect.selection.rded import PublishedRDEDConfig, RDEDConfig
from ddselect.selection.uninformed import AllImagesConfig, RandomConfig
from tests.helpers.models import tiny_teacher
from tests.helpers.selection import VIEW, Bench

STITCHED, WHOLE = (2, 0.0), (2, 1.0)  # crops per side of a stitched image, share of whole images
TOP, RDED = TopScoreConfig("top_score"), RDEDConfig("rded")
METHODS = [
    DDSelectConfig("ddselect").resolve(*STITCHED, soft=True),
    DDSelectConfig("by_herding", crop_pick="herding", image_pick="herding").resolve(*STITCHED, soft=True),
    DDSelectConfig("both", teacher_weight=0.0, crop_pick="score").resolve(*WHOLE, soft=True),
    DiffusionConfig("diffusion"),
    TOP,
    RDED,
    PublishedRDEDConfig("rded_published", area=[0.08, 1.0], padded=True),
    HerdingConfig("herding"),
    KCenterConfig("kcenter"),
    ModerateConfig("moderate"),
    ClustersConfig("clusters"),
    CCSConfig("ccs"),
    RandomConfig("random", area=[0.1, 0.9]),
    AllImagesConfig("all"),
]


@pytest.fixture(scope="module")
def bench(animals: Index, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(animals, tmp_path_factory.mktemp("bench"))


def rows_of(method: SelectionConfig, bench: Bench, seed: int = 0, **seeds: int) -> list[dict]:
    return pa.concat_tables(method.rank(bench.inputs(method, seed, **seeds))).to_pylist()


def of(rows: list[dict], label: int, kind: str) -> list[dict]:
    return [row for row in rows if (row["label"], row["kind"]) == (label, kind)]


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
            mine = of(rows, label, kind)
            assert [row["rank"] for row in mine] == list(range(len(mine)))
            assert {row["id"] for row in mine} == {i for i in animals.ids if labels[i] == label}
            assert len(mine) == len({(row["id"], box(row)) for row in mine})
    assert rows_of(method, bench) == rows


@pytest.mark.parametrize("method", [m for m in METHODS if m.name not in ("top_score", "by_herding", "both")],
                         ids=lambda m: m.name)  # fmt: skip
def test_another_seed_selects_otherwise(method: SelectionConfig, bench: Bench) -> None:
    first, other = rows_of(method, bench, 0), rows_of(method, bench, 1)
    assert [(r["id"], box(r)) for r in first if r["kind"] == "crop"] != [
        (r["id"], box(r)) for r in other if r["kind"] == "crop"
    ]


READS = {"diffusion": {"features"}, "top_score": set(), "ddselect": {"loss", "channel_stats"},
         "by_herding": {"features", "loss"}, "both": {"features"}, "herding": {"features"}, "ccs": set()}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_a_method_uses_what_it_reads_and_nothing_else(name: str, bench: Bench) -> None:
    """The published method takes neither a teacher's loss nor channel statistics into account, nor does its score."""
    method = next(method for method in METHODS if method.name == name)
    assert set(method.embeds) == READS[name]
    before = rows_of(method, bench)
    for field in ("features", "loss", "channel_stats"):
        assert (rows_of(method, bench, **{field: 1}) != before) == (field in READS[name])


@pytest.mark.parametrize(
    ("method", "alone"), [(METHODS[0], False), (METHODS[3], True)], ids=lambda value: str(value)[:9]
)
def test_the_published_method_orders_each_class_on_its_own(
    method: SelectionConfig, alone: bool, bench: Bench, animals: Index, tmp_path: Path
) -> None:
    """What other classes look like changes nothing, as it does where channel statistics are shared."""
    inputs = bench.inputs(method)
    tensors, others = load_file(bench.embedding(bench.scores).path(0)), torch.from_numpy(animals.labels > 0)
    for field in ("features", "channel_stats"):
        tensors[f"image.{field}"][others] *= 9
    write_tensors((plan := embed_shards(tmp_path, len(animals))).path(0), tensors)
    found = [pa.concat_tables(method.rank(each)).to_pylist() for each in (inputs, replace(inputs, embedding=plan))]
    before, after = (of(rows, 0, "image") for rows in found)
    assert (before == after) == alone


GOLDEN = {  # rows of the first ten of each class, as the default before this option had its name ordered them
    (STITCHED, "crop"): [
        [6, 26, 23, 29, 26, 22, 2, 15, 6, 25],
        [59, 38, 37, 42, 34, 56, 42, 48, 55, 46],
        [67, 80, 77, 65, 88, 72, 60, 76, 80, 75],
    ],
    (STITCHED, "image"): [
        [28, 22, 14, 24, 8, 1, 12, 5, 6, 23],
        [43, 40, 32, 53, 59, 30, 31, 54, 44, 48],
        [77, 68, 80, 75, 69, 85, 67, 62, 79, 78],
    ],
}


@pytest.mark.parametrize(("composition", "kind"), GOLDEN)
def test_ddselect_orders_as_the_earlier_default(
    composition: tuple[int, float], kind: str, bench: Bench, animals: Index
) -> None:
    rows = rows_of(DDSelectConfig("ddselect").resolve(*composition, soft=True), bench)
    found = [[animals.ids.index(row["id"]) for row in of(rows, label, kind)[:10]] for label in range(3)]
    assert found == GOLDEN[composition, kind]


@pytest.mark.parametrize(
    ("composition", "soft", "own", "pick"),
    [
        (WHOLE, True, None, "herding"),
        ((2, 0.5), True, None, "herding"),
        (STITCHED, True, None, "channel_stats"),
        (WHOLE, False, None, "channel_stats"),
        (WHOLE, True, "score", "score"),
    ],
)
def test_how_whole_images_are_picked_follows_from_the_labels(
    composition: tuple[int, float], soft: bool, own: str | None, pick: str
) -> None:
    resolved = DDSelectConfig("ddselect", image_pick=own).resolve(*composition, soft)
    assert resolved.picks == {"crop": "channel_stats", "image": pick}
    assert ("features" in resolved.embeds) == (pick == "herding")


@pytest.mark.parametrize(("factor", "whole", "lead"), [(1, 1.0, 0), (2, 0.0, 4), (2, 1.0, 4), (3, 0.5, 9)])
def test_as_many_crops_lead_as_fill_a_stitched_image(factor: int, whole: float, lead: int, bench: Bench) -> None:
    resolved = DDSelectConfig("ddselect").resolve(factor, whole, soft=False)
    assert resolved.lead == lead
    for label in range(3):
        rows = rows_of(resolved, bench)
        assert [row["cluster"] for row in of(rows, label, "crop")[: lead + 1]] == [*[0] * (lead or 1), 1][: lead + 1]
        assert [row["cluster"] for row in of(rows, label, "image")[:2]] == [0, 1]


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_places_by_score_and_by_the_teachers_loss_are_weighted(weight: float, animals: Index, bench: Bench) -> None:
    method = DDSelectConfig("ddselect", teacher_weight=weight, crop_pick="score", image_pick="score")
    crops = crops_of(read_scores(bench.scores))
    losses = EmbedTable(bench.embedding(bench.scores), crops.starts).read(np.arange(len(animals)), "loss")
    places = [(animals.ids[row], *corners) for row, corners in zip(crops.rows, crops.boxes.tolist(), strict=True)]
    of_crops = dict(zip(places, losses["crop"].tolist(), strict=True))
    of_images = dict(zip(animals.ids, losses["image"].tolist(), strict=True))
    rows = rows_of(method, bench)
    for label in range(3):
        for kind in ("crop", "image"):
            mine = of(rows, label, kind)
            scores = [row["score"] for row in mine]
            loss = np.array(
                [of_crops[row["id"], *box(row)] if kind == "crop" else of_images[row["id"]] for row in mine]
            )
            by_score, by_loss = np.argsort(np.argsort(scores)), np.argsort(np.argsort(-loss))
            worth = (1 - weight) * by_score + weight * by_loss
            assert np.diff(worth).max() <= 1e-6
            assert len(set(worth.tolist())) > 1


@pytest.mark.parametrize(("pick", "share"), [("channel_stats", 0.5), ("herding", 0.1)])
def test_picks_are_of_the_better_candidates_and_the_rest_follows_by_rank(
    pick: str, share: float, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddselect, "DEPTH", 7)
    method = DDSelectConfig("ddselect", teacher_weight=0.0, crop_pick=pick, image_pick=pick)
    for table in method.rank(bench.inputs(method)):
        scores, clusters = table["score"].to_numpy(), table["cluster"].to_numpy()
        best, kept = np.sort(scores)[::-1], round(share * len(scores))
        assert set(scores[:kept]) == set(best[:kept])
        assert scores[kept:].tolist() == best[kept:].tolist()
        assert set(clusters[kept:]) == {-1}
        if pick == "channel_stats":
            assert -1 not in clusters[:kept]
        else:
            assert (np.diff(scores[7:kept]) <= 0).all()


def test_herding_keeps_the_mean_of_the_best_tenth(animals: Index, bench: Bench) -> None:
    method = DDSelectConfig("d", teacher_weight=0.0, crop_pick="herding", image_pick="herding")
    features = EmbedTable(bench.embedding(bench.scores), crops_of(read_scores(bench.scores)).starts).read(
        np.arange(len(animals)), "features"
    )
    for label in range(3):
        rows = of(rows_of(method, bench), label, "image")
        kept = features["image"][[animals.ids.index(row["id"]) for row in rows[: round(0.1 * len(rows))]]]
        mean = kept.mean(0)
        for number in range(len(kept)):
            sums = kept[:number].sum(0) + kept[number:]
            distances = ((sums - (number + 1) * mean) ** 2).sum(1)
            assert distances[0] == pytest.approx(distances.min(), rel=1e-4)


def test_the_published_method_takes_the_best_of_each_cluster(bench: Bench) -> None:
    """First the highest score of all; within a level of clusters better ones first; and more than the top scores."""
    rows, top = rows_of(DiffusionConfig("diffusion"), bench), rows_of(TOP, bench)
    for label in range(3):
        for kind in ("crop", "image"):
            ranked, best = ([row["score"] for row in of(found, label, kind)] for found in (rows, top))
            assert best == sorted(best, reverse=True)
            assert ranked[0] == best[0]
            kept = round(0.2 * len(best))
            assert sorted(ranked[:kept], reverse=True) == best[:kept]
            assert (np.diff(ranked[2 : min(5, kept)]) <= 0).all()
            assert ranked[kept:] == best[kept:]


def test_a_method_that_lacks_what_it_reads_says_so(bench: Bench) -> None:
    method = DiffusionConfig("diffusion")
    with pytest.raises(ValueError, match="needs an embedding"):
        method.rank(replace(bench.inputs(method), embedding=None))
    with pytest.raises(ValueError, match="needs scores"):
        method.rank(replace(bench.inputs(method), scores=None))


def test_the_published_rded_looks_at_some_random_images_of_each_class(
    animals: Index, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PublishedRDEDConfig.images == 300
    every, labels = PublishedRDEDConfig("rded_published"), dict(zip(animals.ids, animals.labels.tolist(), strict=True))
    everything = {(r["id"], r["kind"]) for r in rows_of(every, bench)}
    monkeypatch.setattr(PublishedRDEDConfig, "images", 9)
    found = [rows_of(every, bench, seed) for seed in (0, 1)]
    drawn = [{row["id"] for row in rows} for rows in found]
    for rows, ids in zip(found, drawn, strict=True):
        assert Counter(labels[image] for image in ids) == dict.fromkeys(range(3), 9)
        assert {(r["id"], r["kind"]) for r in rows} == {(i, kind) for i in ids for kind in ("crop", "image")}
    assert drawn[0] != drawn[1]
    assert len(everything) == 2 * len(animals)  # all of a smaller class


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
    method, make_trainer = RDEDConfig("rded", 0.0, crops=2), TrainerConfig().parallel
    monkeypatch.setattr(teacher_crops, "score_shards", lambda folder, rows: ShardPlan(folder, rows, 40, ".parquet"))
    monkeypatch.setattr(teacher_crops, "_BATCH", 30)
    whole = tmp_path / "whole"
    teacher_crops.judge_crops(animals, tiny_teacher(3), method, VIEW, 0, make_trainer, whole)
    (tmp_path / "rest").mkdir()
    (first, *_) = sorted(whole.glob("shard-*"))
    for name in (first.name, f".{first.name}.sum"):  # with the note of what it holds
        (tmp_path / "rest" / name).write_bytes((whole / name).read_bytes())
    teacher, seen = tiny_teacher(3), []
    forward = teacher.forward
    monkeypatch.setattr(teacher, "forward", lambda images: seen.append(len(images)) or forward(images))
    teacher_crops.judge_crops(animals, teacher, method, VIEW, 0, make_trainer, tmp_path / "rest")
    assert sum(seen) == 3 * 50  # two crops and the whole of those that are not in the first shard
    assert read_scores(tmp_path / "rest").equals(read_scores(whole))


ORDERS: dict[str, Callable[[np.ndarray, np.ndarray, int, str], np.ndarray]] = {
    "herding": lambda points, _, label, kind: herding_order(points, 400),
    "kcenter": lambda points, _, label, kind: k_center_order(points, 400),
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
    table = EmbedTable(bench.embedding(scores), crops_of(read_scores(scores)).starts)
    for label in range(3):
        mine = np.flatnonzero(animals.labels == label)
        features = table.read(mine, "features")
        for kind in ("crop", "image"):
            here, there = (of(found, label, kind) for found in (rows, rded))
            assert {(r["id"], box(r), r["score"]) for r in here} == {(r["id"], box(r), r["score"]) for r in there}
            losses = {r["id"]: -r["score"] for r in there}
            order = ORDERS[name](
                features[kind], np.array([losses[animals.ids[row]] for row in mine], np.float32), label, kind
            )
            assert [r["id"] for r in here] == [animals.ids[mine[place]] for place in order]


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
        (lambda: DDSelectConfig("d", teacher_weight=1.5), "selection.teacher_weight=1.5"),
        (
            lambda: DDSelectConfig("d", crop_pick="x"),
            "selection.crop_pick=x: choose channel_stats, herding or score",
        ),
        (lambda: DDSelectConfig("d", image_pick="x"), "selection.image_pick=x"),
        (lambda: CCSConfig("c", 0.5, pruned=1.0), "selection.pruned=1.0"),
        (lambda: CCSConfig("c", 0.5, strata=0), "selection.strata=0"),
        (lambda: RDEDConfig("r", 0.0, crops=0), "selection.crops=0"),
        (lambda: RDEDConfig("r", 0.0, size=1.5), "selection.size=1.5"),
        (lambda: RDEDConfig("r", 0.0, area=[0.5, 0.2]), "selection.area="),
        (lambda: RDEDConfig("r", 0.0, area=[0.5]), "selection.area="),
        (lambda: RandomConfig("r", 0.0, area=[0.0, 0.2]), "selection.area="),
    ],
)
def test_values_out_of_range(make: Callable[[], SelectionConfig], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


def test_images_of_a_selection_are_files_of_the_dataset(bench: Bench, animals: Index) -> None:
    for row in rows_of(RDED, bench)[:5]:
        with Image.open(animals.root / row["id"]) as image:
            assert image.size == animals.sizes_at(animals.ids.index(row["id"]))
