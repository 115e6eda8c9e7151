"""Scoring whole indices: shards of maps, and going on after an interruption."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.at_once import AtOnce
from ddselect.scoring.candidates import candidates, scored_images
from ddselect.scoring.latents import KeptLatents, keep_latents, latent_shards
from ddselect.scoring.maps import MAPS, read_image_scores
from ddselect.scoring.module import score_images
from ddselect.scoring.scorer import difference_maps
from ddselect.scoring.settings import ScoringConfig
from tests.helpers.damage import DAMAGES

CONDITIONS = Conditions([0, 1, 2], 3)  # ant, bee and cow of the tiny UNet, against its null class


def score(
    index: Index, denoiser: Denoiser, folder: Path, conditions: Conditions = CONDITIONS, **options: object
) -> dict[str, object]:
    settings = ScoringConfig(**{"draws": 2, "shard_size": 40, "batch_size": 16, **options})  # type: ignore[arg-type]
    index = candidates(index, settings.cap, settings.seed)
    return score_images(index, denoiser, conditions, settings, 16, TrainerConfig().parallel, folder)


def rows(folder: Path) -> dict[str, dict]:
    """Rows of the kept maps by image."""
    found = pa.concat_tables([pq.read_table(shard) for shard in sorted(folder.glob("shard-*.parquet"))])
    return {row["id"]: row for row in found.to_pylist()}


def kept(row: dict, name: str = "difference") -> np.ndarray:
    """A kept map, (8, 8) float32."""
    return np.frombuffer(row[name], np.float16).reshape(8, 8).astype(np.float32)


def assert_alike(first: Path, second: Path, atol: float = 1e-6) -> None:
    """The same images with the same scores, and maps that differ by their rounding at most."""
    one, other = rows(first), rows(second)
    assert list(one) == list(other)
    for image, row in one.items():
        assert row["image_score"] == pytest.approx(other[image]["image_score"], abs=atol)
        for name in MAPS:
            np.testing.assert_allclose(kept(row, name), kept(other[image], name), atol=1e-3)


def test_what_is_kept_of_an_image(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    facts = score(animals, unet, tmp_path)
    assert facts == {"images": 90, "images_scored_last": 90, "network_evaluations_per_image": 4}
    found, draws = rows(tmp_path), ScoringConfig(draws=2).make_draws()
    assert list(found) == animals.ids
    assert [row["label"] for row in found.values()] == animals.labels.tolist()
    assert read_image_scores(tmp_path)["image_score"].to_pylist() == [row["image_score"] for row in found.values()]
    for number in (0, 35, 89):  # under its own class
        row, label = found[animals.ids[number]], torch.tensor([number // 30])
        content = [animals.table["hash"][number].as_py()]
        direct = difference_maps(unet, unet.encode(animals.read(number, 16)[None]), content, label, 3, draws, 0.5)
        assert row["image_score"] == pytest.approx(direct.image_score.item(), abs=1e-6)
        for name in MAPS:
            np.testing.assert_allclose(kept(row, name), getattr(direct, name)[0].numpy(), atol=1e-3)


def test_cross_terms_come_into_the_table(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    for cross in (0.0, 0.5, 1.0):
        score(animals, unet, tmp_path / str(cross), cross_draw_weight=cross)
    own, half, terms = (
        np.array([row["image_score"] for row in rows(tmp_path / str(cross)).values()]) for cross in (0.0, 0.5, 1.0)
    )
    assert np.abs(own - terms).max() > 1e-3
    np.testing.assert_allclose(half, (own + terms) / 2, atol=1e-5)


def test_conditions_follow_the_order_of_the_dataset(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    """A dataset that lists its classes otherwise than the prior: what counts is the condition, not the label."""
    score(animals, unet, tmp_path / "turned", Conditions([2, 0, 1], 3))
    score(animals, unet, tmp_path / "none", Conditions([3, 3, 3], None))
    turned, none, draws = rows(tmp_path / "turned"), rows(tmp_path / "none"), ScoringConfig(draws=2).make_draws()
    for row in (0, 35, 89):
        latents, content = unet.encode(animals.read(row, 16)[None]), [animals.table["hash"][row].as_py()]
        condition = torch.tensor([[2, 0, 1][row // 30]])
        direct = difference_maps(unet, latents, content, condition, 3, draws, 0.5)
        np.testing.assert_allclose(kept(turned[animals.ids[row]]), direct.difference[0].numpy(), atol=1e-3)
        alone = difference_maps(unet, latents, content, torch.tensor([3]), None, draws, 0.5)
        for name in MAPS:
            np.testing.assert_allclose(kept(none[animals.ids[row]], name), alone.difference[0].numpy(), atol=1e-3)
        assert none[animals.ids[row]]["image_score"] is None  # it would be zero


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"batch_size": 64}, {"shard_size": 7}])
def test_shards_and_batches_change_nothing(
    animals: Index, unet: Denoiser, tmp_path: Path, change: dict[str, object]
) -> None:
    few = Index(animals.root, animals.class_folders, animals.class_names, animals.table.slice(25, 20))
    score(few, unet, tmp_path / "a")
    score(few, unet, tmp_path / "b", **change)
    assert_alike(tmp_path / "a", tmp_path / "b")


def test_only_missing_shards_are_scored_again(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    score(animals, unet, tmp_path)
    whole, shards = rows(tmp_path), sorted(tmp_path.glob("shard-*.parquet"))
    assert [pq.read_metadata(s).num_rows for s in shards] == [40, 40, 10]
    kept = shards[0].stat().st_mtime_ns
    shards[1].unlink()
    assert score(animals, unet, tmp_path, shard_size=25)["images_scored_last"] == 40  # shards stay as they were begun
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
    assert [path.name for path in tmp_path.glob("shard-*")] == ["shard-00000-of-00003.parquet"]


def test_a_view_that_does_not_suit_is_refused_before_scoring(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image size 15 is not a multiple of"):
        score_images(animals, unet, CONDITIONS, ScoringConfig(), 15, TrainerConfig().parallel, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_shard_is_scored_again(
    animals: Index, unet: Denoiser, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    score(animals, unet, tmp_path)
    shards = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.glob("shard-*.parquet"))}
    first, second, third = shards
    damage(second)
    score(animals, unet, tmp_path)
    assert second.read_bytes() == shards[second][0]
    assert [path.stat().st_mtime_ns for path in (first, third)] == [shards[path][1] for path in (first, third)]


def test_shards_of_a_division_that_nobody_knows_any_more_are_gone(
    animals: Index, unet: Denoiser, tmp_path: Path
) -> None:
    score(animals, unet, tmp_path)
    (tmp_path / "shards.json").write_bytes(b"{")
    score(animals, unet, tmp_path, shard_size=50)
    assert [path.name for path in sorted(tmp_path.glob("shard-*"))] == [
        f"shard-0000{k}-of-00002.parquet" for k in (0, 1)
    ]
    assert len(read_image_scores(tmp_path)) == len(animals)


def test_a_cap_leaves_the_same_random_images_of_each_class(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    assert score(animals, unet, tmp_path / "seven", cap=7)["images"] == 21
    seven = rows(tmp_path / "seven")
    assert [row["label"] for row in seven.values()] == [0] * 7 + [1] * 7 + [2] * 7
    assert list(seven) != [animals.ids[30 * label + k] for label in range(3) for k in range(7)]
    score(animals, unet, tmp_path / "all")
    everything = rows(tmp_path / "all")
    assert [seven[image]["image_score"] for image in seven] == pytest.approx(
        [everything[image]["image_score"] for image in seven], abs=1e-6
    )
    assert scored_images(animals, read_image_scores(tmp_path / "seven")).ids == list(seven)
    assert scored_images(animals, read_image_scores(tmp_path / "all")) is animals
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
    assert_alike(tmp_path / "roomy", tmp_path / "narrow")


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
    assert_alike(tmp_path / "plain", tmp_path / "compiled")


def test_scores_from_kept_latents(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    settings = ScoringConfig(draws=2, shard_size=40, batch_size=16)
    facts = keep_latents(animals, unet, settings, 16, TrainerConfig().parallel, tmp_path / "latents")
    assert facts == {"images": 90, "shape": [12, 8, 8]}
    plan = latent_shards(tmp_path / "latents", 90)  # whatever they were made with
    latents, some = KeptLatents(animals, plan), animals.take(np.array([3, 39, 40, 88]))
    for number, row in enumerate((3, 39, 40, 88)):
        latent, place = latents.of(some)[number]
        assert place == number
        torch.testing.assert_close(latent, unet.encode(animals.read(row, 16)[None])[0].half(), atol=0, rtol=0)
    score(animals, unet, tmp_path / "images")
    trainer = TrainerConfig().parallel
    score_images(animals, unet, CONDITIONS, settings, 16, trainer, tmp_path / "all", latents)
    score_images(some, unet, CONDITIONS, settings, 16, trainer, tmp_path / "some", latents)
    assert_alike(tmp_path / "images", tmp_path / "all", atol=2e-3)
    images, everything, few = (rows(tmp_path / name) for name in ("images", "all", "some"))
    assert everything != images
    assert list(few) == some.ids
    for image, row in few.items():
        assert row["image_score"] == pytest.approx(everything[image]["image_score"], abs=1e-6)


def test_latents_go_on_where_they_stopped_and_are_finite(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, encode, seen = ScoringConfig(shard_size=40, batch_size=20), unet.encode, []
    keep_latents(animals, unet, settings, 16, TrainerConfig().parallel, tmp_path)
    plan = latent_shards(tmp_path, 90)
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
