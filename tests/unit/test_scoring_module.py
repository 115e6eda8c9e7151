"""Scoring whole indices: shards, the merged table, and going on after an interruption."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.images import view_to_source
from ddselect.dataset.index import Index
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.at_once import AtOnce
from ddselect.scoring.candidates import candidates, scored_images
from ddselect.scoring.latents import KeptLatents, keep_latents, latent_shards
from ddselect.scoring.module import score_images
from ddselect.scoring.scorer import difference_maps
from ddselect.scoring.settings import ScoringConfig
from ddselect.scoring.table import merge, read_maps, read_scores, score_shards, write_rows

CONDITIONS = Conditions([0, 1, 2], 3)  # ant, bee and cow of the tiny UNet, against its null class


def score(
    index: Index, denoiser: Denoiser, folder: Path, conditions: Conditions = CONDITIONS, **options: object
) -> dict[str, object]:
    settings = ScoringConfig(**{"draws": 2, "shard_size": 40, "batch_size": 16, "boxes": 2, **options})  # type: ignore[arg-type]
    index = candidates(index, settings.cap, settings.seed)
    return score_images(index, denoiser, conditions, settings, 16, TrainerConfig().parallel, folder)


def rows(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_scores(folder).to_pylist()}


def test_the_merged_table(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    facts = score(animals, unet, tmp_path, change=0.0)
    assert facts == {"images": 90, "images_scored_last": 90, "network_evaluations_per_image": 4}
    assert read_scores(tmp_path)["id"].to_pylist() == animals.ids
    maps = read_maps(tmp_path)
    for number, (image, row) in enumerate(rows(tmp_path).items()):
        width, height = animals.sizes_at(number)
        plane = maps[image]
        assert plane.shape == (8, 8)
        assert row["label"] == animals.labels[number]
        assert row["image_score"] == pytest.approx(plane.mean(), abs=1e-3)
        boxes = np.array(row["boxes"]).reshape(-1, 4)
        found = {  # from a box in the file's pixels back to its corner in the map
            tuple(view_to_source(np.array([[2 * x, 2 * y, 2 * x + 8, 2 * y + 8]]), width, height, 16)[0].tolist()): (
                x,
                y,
            )
            for x in range(5)
            for y in range(5)
        }
        assert 1 <= len(boxes) == len(row["scores"]) == len(row["losses"]) <= 2
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (width, height)).all()
        x, y = found[tuple(boxes[0].tolist())]
        assert row["scores"][0] == pytest.approx(plane[y : y + 4, x : x + 4].mean(), abs=1e-3)


def test_cross_terms_come_into_the_table(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    for cross in (0.0, 0.5, 1.0):
        score(animals, unet, tmp_path / str(cross), change=0.0, cross=cross)
    own, half, terms = (
        np.array([row["image_score"] for row in rows(tmp_path / str(cross)).values()]) for cross in (0.0, 0.5, 1.0)
    )
    assert np.abs(own - terms).max() > 1e-3
    np.testing.assert_allclose(half, (own + terms) / 2, atol=1e-5)


def test_every_image_is_scored_under_its_own_class(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    score(animals, unet, tmp_path)
    maps, draws = read_maps(tmp_path), ScoringConfig(draws=2).make_draws()
    for row in (0, 35, 89):
        label, content = torch.tensor([row // 30]), animals.table["hash"][row].as_py()
        direct = difference_maps(unet, unet.encode(animals.read(row, 16)[None]), [content], label, 3, draws, 0.5)
        np.testing.assert_allclose(maps[animals.ids[row]], direct.place(0.75)[0].numpy(), atol=1e-3)  # kept as fp16


def test_conditions_follow_the_order_of_the_dataset(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    """A dataset that lists its classes otherwise than the prior: what counts is the condition, not the label."""
    score(animals, unet, tmp_path / "turned", Conditions([2, 0, 1], 3))
    score(animals, unet, tmp_path / "none", Conditions([3, 3, 3], None))
    turned, none, draws = (
        read_maps(tmp_path / "turned"),
        read_maps(tmp_path / "none"),
        ScoringConfig(draws=2).make_draws(),
    )
    for row in (0, 35, 89):
        latents, content = unet.encode(animals.read(row, 16)[None]), [animals.table["hash"][row].as_py()]
        condition = torch.tensor([[2, 0, 1][row // 30]])
        direct = difference_maps(unet, latents, content, condition, 3, draws, 0.5)
        np.testing.assert_allclose(turned[animals.ids[row]], direct.place(0.75)[0].numpy(), atol=1e-3)
        alone = difference_maps(unet, latents, content, torch.tensor([3]), None, draws, 0.5)
        np.testing.assert_allclose(none[animals.ids[row]], alone.difference[0].numpy(), atol=1e-3)
        scored = rows(tmp_path / "none")[animals.ids[row]]
        assert scored["image_score"] == scored["scores"][0] > 0


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"batch_size": 64}, {"shard_size": 7}])
def test_shards_and_batches_change_nothing(
    animals: Index, unet: Denoiser, tmp_path: Path, change: dict[str, object]
) -> None:
    few = Index(animals.root, animals.class_folders, animals.class_names, animals.table.slice(25, 20))
    score(few, unet, tmp_path / "a")
    score(few, unet, tmp_path / "b", **change)
    first, second = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert list(first) == list(second)
    for image, row in first.items():
        assert row["boxes"] == second[image]["boxes"]
        assert row["scores"] == pytest.approx(second[image]["scores"], abs=1e-6)
        assert row["image_score"] == pytest.approx(second[image]["image_score"], abs=1e-6)


def test_only_missing_shards_are_scored_again(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    score(animals, unet, tmp_path)
    whole, shards = rows(tmp_path), sorted(tmp_path.glob("shard-*.parquet"))
    assert [pq.read_metadata(s).num_rows for s in shards] == [40, 40, 10]
    kept = shards[0].stat().st_mtime_ns
    shards[1].unlink()
    assert score(animals, unet, tmp_path)["images_scored_last"] == 40
    assert shards[0].stat().st_mtime_ns == kept
    assert rows(tmp_path) == whole


def test_a_loss_that_is_not_finite_leaves_no_shard_of_it(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, calls = unet.predict, []

    def poisoned(*arguments: object) -> object:
        calls.append(None)
        return predict(*arguments) * (float("nan") if len(calls) > 8 else 1)  # type: ignore[arg-type]

    monkeypatch.setattr(unet, "predict", poisoned)  # 40 images are three batches of two draws: six calls
    with pytest.raises(NumericalError, match=r"image train/(ant|bee)/\S+: the loss at timestep \d+ is not finite"):
        score(animals, unet, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["shard-00000-of-00003.parquet"]


def test_a_view_that_does_not_suit_is_refused_before_scoring(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image size 15 is not a multiple of"):
        score_images(animals, unet, CONDITIONS, ScoringConfig(), 15, TrainerConfig().parallel, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_shard_that_is_no_table_is_named(tmp_path: Path) -> None:
    plan = score_shards(tmp_path, 5, 5)
    plan.path(0).write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"shard-00000-of-00001.parquet is damaged"):
        merge(plan)


def test_a_shard_with_missing_rows_is_named(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    score(animals, unet, tmp_path)
    plan = score_shards(tmp_path, 90, 40)
    write_rows(plan.path(1), pq.read_table(plan.path(1)).slice(0, 5).to_pylist())
    with pytest.raises(UserError, match=r"shard-00001-of-00003.parquet is damaged; remove it"):
        merge(plan)


def test_a_cap_leaves_the_same_random_images_of_each_class(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    assert score(animals, unet, tmp_path / "seven", cap=7)["images"] == 21
    seven = rows(tmp_path / "seven")
    assert [row["label"] for row in seven.values()] == [0] * 7 + [1] * 7 + [2] * 7
    assert list(seven) != [animals.ids[30 * label + k] for label in range(3) for k in range(7)]
    score(animals, unet, tmp_path / "all")
    everything = rows(tmp_path / "all")
    assert [seven[image]["boxes"] for image in seven] == [everything[image]["boxes"] for image in seven]
    assert scored_images(animals, read_scores(tmp_path / "seven")).ids == list(seven)
    assert scored_images(animals, read_scores(tmp_path / "all")) is animals
    more = set(candidates(animals, 12, 0).ids)
    assert set(seven) < more  # nested
    assert len(more) == 36
    assert set(candidates(animals, 7, 1).ids) != set(seven)
    turned = animals.take(np.arange(90)[::-1])
    assert set(candidates(turned, 7, 0).ids) == set(seven)  # whatever the order
    assert candidates(animals, 30, 0).ids == animals.ids


def test_a_batch_too_large_for_the_memory_is_halved_from_then_on(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    score(animals, unet, tmp_path / "roomy")
    error, sizes = unet.error, []

    def narrow(latents: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        sizes.append(len(latents))
        if len(latents) > 10:  # both conditions
            raise torch.OutOfMemoryError("out of memory")
        return error(latents, *others)

    monkeypatch.setattr(unet, "error", narrow)
    AtOnce(tmp_path / "narrow", 16).halve(2)  # an earlier attempt's
    score(animals, unet, tmp_path / "narrow")
    assert sizes[:3] == [32, 16, 8]
    assert max(sizes[3:]) == 8
    assert "4 images at once from here on" in capfd.readouterr().err
    assert not (tmp_path / "narrow" / "at_once.json").exists()
    first, second = rows(tmp_path / "roomy"), rows(tmp_path / "narrow")
    assert list(first) == list(second)
    for image, row in first.items():
        assert second[image]["scores"] == pytest.approx(row["scores"], abs=1e-6)


def test_what_one_rank_has_no_memory_for_no_rank_tries_again(tmp_path: Path) -> None:
    one, other = AtOnce(tmp_path, 16), AtOnce(tmp_path, 16)
    assert (one(), other()) == (16, 16)
    one.halve(16)
    other.halve(16)  # it was trying that many too
    assert (one(), other(), AtOnce(tmp_path, 16)()) == (8, 8, 8)
    other.halve(5)  # a last, smaller batch
    assert one() == 3
    assert AtOnce(tmp_path, 2)() == 2


def test_a_memory_too_small_for_one_image_is_said_in_one_line(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(unet, "error", full)
    with pytest.raises(UserError, match="memory is too small for a single image"):
        score(animals, unet, tmp_path)
    assert not list(tmp_path.glob("shard-*"))


def test_large_maps_are_kept_averaged_down_and_boxes_are_found_before(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = animals.take(np.arange(40, 50))
    score(few, unet, tmp_path / "whole")
    monkeypatch.setattr("ddselect.scoring.table.MAP_SIDE", 4)
    score(few, unet, tmp_path / "small")
    whole, small = read_maps(tmp_path / "whole"), read_maps(tmp_path / "small")
    for image, plane in whole.items():
        np.testing.assert_allclose(small[image], plane.reshape(4, 2, 4, 2).mean((1, 3)), atol=1e-4)
    assert rows(tmp_path / "whole") == rows(tmp_path / "small")


def test_a_compiled_network_sees_batches_of_one_size(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(animals, unet, tmp_path / "plain")
    error, sizes = unet.error, []

    def seen(latents: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        sizes.append(len(latents))
        return error(latents, *others)

    monkeypatch.setattr(unet, "is_compiled", True)
    monkeypatch.setattr(unet, "error", seen)
    score(animals, unet, tmp_path / "compiled")
    assert set(sizes) == {32}  # 16 images under both conditions, the last batches of shards (8 and 10 images) filled up
    plain, compiled = rows(tmp_path / "plain"), rows(tmp_path / "compiled")
    assert list(plain) == list(compiled)
    for image, row in plain.items():
        assert row["boxes"] == compiled[image]["boxes"]
        assert row["scores"] == pytest.approx(compiled[image]["scores"], abs=1e-6)


def test_scores_from_kept_latents(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    settings = ScoringConfig(draws=2, shard_size=40, batch_size=16)
    facts = keep_latents(animals, unet, settings, 16, TrainerConfig().parallel, tmp_path / "latents")
    assert facts == {"images": 90, "shape": [12, 8, 8]}
    plan = latent_shards(tmp_path / "latents", 90, settings)
    kept, some = KeptLatents(animals, plan), animals.take(np.array([3, 39, 40, 88]))
    for number, row in enumerate((3, 39, 40, 88)):
        latent, place = kept.of(some)[number]
        assert place == number
        torch.testing.assert_close(latent, unet.encode(animals.read(row, 16)[None])[0].half(), atol=0, rtol=0)
    score(animals, unet, tmp_path / "images", boxes=1)
    trainer = TrainerConfig().parallel
    score_images(animals, unet, CONDITIONS, settings, 16, trainer, tmp_path / "kept", kept)
    score_images(some, unet, CONDITIONS, settings, 16, trainer, tmp_path / "some", kept)
    images, all_kept, some_kept = (rows(tmp_path / name) for name in ("images", "kept", "some"))
    assert list(some_kept) == some.ids
    for image, row in all_kept.items():
        assert row["scores"] == pytest.approx(images[image]["scores"], abs=2e-3)
    assert [some_kept[image]["scores"] for image in some.ids] == [
        pytest.approx(all_kept[image]["scores"], abs=1e-6) for image in some.ids
    ]
    assert all_kept != images


def test_latents_go_on_where_they_stopped_and_are_finite(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, encode, seen = ScoringConfig(shard_size=40, batch_size=20), unet.encode, []
    keep_latents(animals, unet, settings, 16, TrainerConfig().parallel, tmp_path)
    plan = latent_shards(tmp_path, 90, settings)
    before = plan.path(1).read_bytes()
    plan.path(1).unlink()
    monkeypatch.setattr(unet, "encode", lambda images: seen.append(len(images)) or encode(images))
    keep_latents(animals, unet, settings, 16, TrainerConfig().parallel, tmp_path)
    assert seen == [20, 20]
    assert plan.path(1).read_bytes() == before
    plan.path(1).unlink()
    monkeypatch.setattr(unet, "encode", lambda images: encode(images) * 1e6)  # too large for fp16
    with pytest.raises(NumericalError, match=rf"image {animals.ids[40]}: its latents are not finite"):
        keep_latents(animals, unet, settings, 16, TrainerConfig().parallel, tmp_path)
    assert not plan.path(1).exists()
