"""Candidates embedded by another network than the teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ddselect.dataset.index import Index
from ddselect.embed import settings as features
from ddselect.embed.feature_table import FeatureTable, feature_shards
from ddselect.embed.prior import PriorNetwork
from ddselect.embed.settings import BackboneEmbedConfig, EmbedConfig, TimmEmbedConfig
from ddselect.embed.stage import embed_candidates
from ddselect.prompt.conditions import Conditions
from ddselect.prompt.modes import NoPromptConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.table import Crops
from ddselect.student.models import build_network
from tests.helpers.families import CLASSES, TEXT, UNCONDITIONAL, Family
from tests.helpers.models import CPU, conditions_of, tiny_teacher


def nothing() -> None:
    raise AssertionError("another network embeds")


@pytest.mark.parametrize(("size", "shown"), [(0, (8, 16)), (24, (24, 24))])
def test_a_timm_model_sees_crops_and_images_at_its_size(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, shown: tuple[int, int]
) -> None:
    def without_weights(name: str, outputs: int, side: int | None, pretrained: bool) -> object:
        assert (name, outputs, side, pretrained) == ("resnet10t.c3_in1k", 1000, None, True)
        return build_network(name, outputs, side)

    monkeypatch.setattr(features, "build_network", without_weights)
    settings = TimmEmbedConfig("timm", shard_size=4, batch_size=4, architecture="resnet10t.c3_in1k", size=size)
    network = settings.network(nothing, nothing)  # type: ignore[arg-type]
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])  # those that timm names
    assert not network.training
    index = animals.take(np.arange(6))
    boxes = index.square_boxes()
    boxes[:, 2:] = boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) // 2
    crops = Crops(np.arange(7), np.arange(6), boxes, np.zeros(6, np.float32))
    embed_candidates(index, crops, network, settings, 16, TrainerConfig().parallel, tmp_path)
    found = FeatureTable(feature_shards(tmp_path, 6, 4), crops.starts).read(np.array([5]))
    for kind, box, side in zip(("crop", "image"), (boxes[5], index.square_boxes()[5]), shown, strict=True):
        image = index.read(5, side, tuple(box.tolist()))[None] / 255
        np.testing.assert_allclose(found[kind], network.features(image).numpy(), rtol=1e-2, atol=2e-2)


def test_the_teacher_sees_what_is_composed() -> None:
    teacher, settings = tiny_teacher(3), EmbedConfig("teacher")
    assert settings.network(lambda: teacher, nothing) is teacher
    assert [settings.shown(side) for side in (8, 16)] == [8, 16]


def test_a_negative_size() -> None:
    with pytest.raises(UserError, match=r"embed.size=-1"):
        TimmEmbedConfig("timm", architecture="resnet18", size=-1)


FAMILIES = {**TEXT, **CLASSES, **UNCONDITIONAL}
WIDTH = {"dit": 16, "sd3": 16, "sd3_without_t5": 16, "class_unet": 16, "ddpm": 16, "ddpm_in_parts": 16}  # else 32


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_embeds_by_the_middle_of_its_network(name: str, animals: Index, tmp_path: Path) -> None:
    family: Family = FAMILIES[name]
    backbone = family.settings(family.write(tmp_path))
    denoiser, conditions = backbone.load(CPU), conditions_of(backbone, animals, NoPromptConfig())
    settings = BackboneEmbedConfig("backbone", size=family.image_size)
    network = settings.network(nothing, lambda: (denoiser, conditions))  # type: ignore[arg-type]
    assert isinstance(network, PriorNetwork)
    assert settings.shown(8) == settings.shown(32) == family.image_size
    images = animals.read_all(family.image_size)[:6].float() / 255
    found = network.features(images)
    assert found.shape == (6, WIDTH.get(name, 32))
    assert found.isfinite().all()
    assert (found - found[:1]).abs().max() > 1e-3  # they tell images apart
    torch.testing.assert_close(network.features(images[[4, 1]]), found[[4, 1]], atol=1e-5, rtol=1e-4)
    other = BackboneEmbedConfig("backbone", size=family.image_size, seed=1)
    again = other.network(nothing, lambda: (denoiser, conditions))  # type: ignore[arg-type]
    assert not torch.allclose(again.features(images), found, atol=1e-4)


def test_the_middle_of_a_unet_is_its_middle_block_under_the_reference(animals: Index, tmp_path: Path) -> None:
    """Written out: noise at the level, no class, the block's output averaged over positions."""
    family = CLASSES["class_unet"]
    denoiser = family.settings(family.write(tmp_path)).load(CPU)
    images = animals.read_all(16)[:3]
    settings = BackboneEmbedConfig("backbone", size=16, level=0.3)
    network = settings.network(nothing, lambda: (denoiser, Conditions([0, 1, 2], 3)))  # type: ignore[arg-type]
    noise = network.draws.noise([""], 0, (12, 8, 8))
    signal, sigma = denoiser.schedule.signal[300], denoiser.schedule.sigma[300]
    outputs = []
    hook = denoiser.network.mid_block.register_forward_hook(lambda *call: outputs.append(call[-1]))  # type: ignore[union-attr]
    denoiser.network(signal * denoiser.encode(images) + sigma * noise, 300, class_labels=torch.tensor([3, 3, 3]))
    hook.remove()
    torch.testing.assert_close(network.features(images.float() / 255), outputs[0].mean((2, 3)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("options", "words"), [({"size": 0}, "size=0"), ({"size": 8, "level": 1.5}, "level=1.5")])
def test_values_of_the_priors_features_out_of_range(options: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=f"embed.{words}"):
        BackboneEmbedConfig("backbone", **options)  # type: ignore[arg-type]
