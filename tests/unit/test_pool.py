"""Images made by a prior: keyed by class and number, whole or absent, and prototypes that are centroids."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from ddselect.pool import generation
from ddselect.pool.generation import Prototypes, generate
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.latents import KeptLatents, keep_latents, latent_shards
from ddselect.scoring.settings import ScoringConfig

CONDITIONS = Conditions([0, 1, 2], 3)


def make(index: Index, denoiser: Denoiser, folder: Path, **options: object) -> dict[str, np.ndarray]:
    settings = {"kind": "generated", "per_class": 4, "steps": 2, **options}
    pool = PoolConfig("test", **settings)  # type: ignore[arg-type]
    root = generate(pool, index, denoiser, CONDITIONS, 16, TrainerConfig().parallel, folder)
    return {path.relative_to(root).as_posix(): np.array(Image.open(path)) for path in sorted(root.rglob("*.png"))}


def test_an_image_depends_on_seed_class_and_number_alone(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    four = make(animals, unet, tmp_path / "four")
    assert list(four) == [f"{name}/{number:05d}.png" for name in ("ant", "bee", "cow") for number in range(4)]
    assert all(image.shape == (16, 16, 3) for image in four.values())
    assert len({image.tobytes() for image in four.values()}) == 12
    two = make(animals, unet, tmp_path / "two", per_class=2, batch_size=1)
    for name, image in two.items():
        assert np.abs(image.astype(int) - four[name].astype(int)).max() <= 1  # rounding of another batch
    other = make(animals, unet, tmp_path / "other", per_class=2, seed=1)
    assert all((other[name] != four[name]).any() for name in other)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda shard: shard.write_bytes(b"{}"),
        lambda shard: (shard.parent / "images" / "bee" / "00002.png").unlink(),
        lambda shard: (shard.parent / "images" / "cow" / "00001.png").write_bytes(b"cut off"),
    ],
    ids=["no shard", "shard", "no image", "image"],
)
def test_an_interrupted_generation_goes_on(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(generation, "SHARD", 5)
    whole = make(animals, unet, tmp_path / "whole")
    make(animals, unet, tmp_path / "cut")
    shards = sorted((tmp_path / "cut").glob("shard-*"))
    assert len(shards) == 3
    damage(shards[1])
    predict, calls = unet.predict, []
    monkeypatch.setattr(unet, "predict", lambda *some: calls.append(len(some[0])) or predict(*some))
    again = make(animals, unet, tmp_path / "cut")
    assert calls == [10, 10]  # two steps of five images under two conditions
    assert {name: image.tobytes() for name, image in again.items()} == {n: i.tobytes() for n, i in whole.items()}


def test_prototypes_are_centroids_of_the_class_larger_clusters_first(
    animals: Index, unet: Denoiser, tmp_path: Path
) -> None:
    keep_latents(animals, unet, ScoringConfig(), 16, TrainerConfig().parallel, tmp_path)
    kept = KeptLatents(animals, latent_shards(tmp_path, len(animals)))
    rows = np.flatnonzero(animals.labels == 1)
    latents = torch.stack([kept.of(animals)[int(row)][0].float() for row in rows])
    one = Prototypes(animals, kept, 1, 0).of(1)
    torch.testing.assert_close(one[0], latents.mean(0), rtol=1e-3, atol=1e-3)
    three = Prototypes(animals, kept, 3, 0).of(1)
    nearest = torch.cdist(latents.flatten(1), three.flatten(1)).argmin(1)
    counts = torch.bincount(nearest, minlength=3).tolist()
    assert counts == sorted(counts, reverse=True)
    many = Prototypes(animals.take(rows[:2]), kept, 5, 0).of(1)  # more than images: they come again
    torch.testing.assert_close(many[:2], many[2:4])


def test_prototypes_become_images_and_leave_no_latents(animals: Index, unet: Denoiser, tmp_path: Path) -> None:
    found = make(animals, unet, tmp_path, kind="prototypes", per_class=2, strength=0.3)
    assert len(found) == 6
    assert not (tmp_path / "latents").exists()


def test_an_image_that_is_not_finite_is_named(
    animals: Index, unet: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet, "predict", lambda noisy, *_: torch.full_like(noisy, torch.nan))
    with pytest.raises(NumericalError, match=r"generated image 0 of class 'ant' is not finite .*a smaller pool.guid"):
        make(animals, unet, tmp_path)
    assert not list(tmp_path.glob("shard-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dreamt"}, "pool.kind=dreamt: choose real, generated, prototypes, mixed"),
        ({"guidance": 0.5}, "pool.guidance=0.5: at least 1"),
        ({"strength": 0.0}, "pool.strength=0.0: a share above 0"),
        ({"per_class": 0}, "pool.per_class=0: at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        PoolConfig("test", **options)  # type: ignore[arg-type]
