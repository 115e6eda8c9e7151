"""What an embedding leaves of candidates, by the teacher and by other networks."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from ddselect.dataset.index import Index
from ddselect.embed import run
from ddselect.embed import settings as features
from ddselect.embed.moments import channel_stats
from ddselect.embed.prior import PriorNetwork
from ddselect.embed.run import embed_images, patch_side
from ddselect.embed.settings import BackboneEmbedConfig, EmbedConfig, Prior, TimmEmbedConfig
from ddselect.embed.table import EmbedTable, embed_shards
from ddselect.prompt.conditions import Conditions
from ddselect.prompt.modes import NoPromptConfig
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.files import write_bytes
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trainer import TrainerConfig
from ddselect.runtime.trial import Trial
from ddselect.scoring.table import Crops
from ddselect.student.models import Classifier, build_network
from tests.helpers.families import CLASSES, TEXT, UNCONDITIONAL, Family
from tests.helpers.models import CPU, conditions_of, tiny_teacher


def nothing() -> Prior:
    raise AssertionError("another network embeds")


@pytest.mark.parametrize(("size", "shown"), [(0, (8, 16)), (24, (24, 24))])
def test_a_timm_model_sees_crops_and_images_at_its_size(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, shown: tuple[int, int]
) -> None:
    def without_weights(name: str, outputs: int, side: int | None, pretrained: bool) -> object:
        assert (name, outputs, side, pretrained) == ("resnet10t.c3_in1k", 1000, None, True)
        return build_network(name, outputs, side)

    monkeypatch.setattr(features, "build_network", without_weights)
    settings = TimmEmbedConfig("timm", batch_size=4, architecture="resnet10t.c3_in1k", size=size)
    network = settings.network(nothing)
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])  # those that timm names
    assert not network.training
    index = animals.take(np.arange(6))
    boxes = index.square_boxes()
    boxes[:, 2:] = boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) // 2
    crops = Crops(np.arange(7), np.arange(6), boxes, np.zeros(6, np.float32))
    teacher = tiny_teacher(3)
    embed_images(index, crops, network, teacher, settings, 16, TrainerConfig().parallel, tmp_path)
    table, rows = EmbedTable(embed_shards(tmp_path, 6), crops.starts), np.array([5])
    found, losses, stats = (table.read(rows, field) for field in ("features", "loss", "channel_stats"))
    label = torch.tensor([index.labels[5]])
    for kind, box, side in zip(("crop", "image"), (boxes[5], index.square_boxes()[5]), shown, strict=True):
        image = index.read(5, side, tuple(box.tolist()))[None] / 255
        np.testing.assert_allclose(found[kind], network.features(image).numpy(), rtol=1e-2, atol=2e-2)
        composed = index.read(5, {"crop": 8, "image": 16}[kind], tuple(box.tolist()))[None] / 255
        assert losses[kind] == pytest.approx(F.cross_entropy(teacher(composed), label).item(), abs=1e-4)
        np.testing.assert_allclose(stats[kind], channel_stats(composed).numpy(), atol=5e-4)


def two_crops(index: Index) -> Crops:
    """The middle 12 pixels of every image and, of all but the first, its upper left ones."""
    corners = (index.sizes() - 12) // 2
    middle = np.concatenate([corners, corners + 12], 1).astype(np.int32)
    boxes = [box for row, own in enumerate(middle) for box in ([own, np.array([0, 0, 12, 12])] if row else [own])]
    starts = np.concatenate([[0], np.arange(1, 2 * len(index), 2)])
    return Crops(starts, np.repeat(np.arange(len(index)), np.diff(starts)), np.stack(boxes), np.zeros(len(boxes)))


def counted(monkeypatch: pytest.MonkeyPatch, teacher: Classifier) -> tuple[list[int], list[int]]:
    """Rows that are decoded and sizes of the batches that the teacher sees, from now on."""
    decode, forward = Index.decode, teacher.network.forward_features
    decoded, seen = [], []
    monkeypatch.setattr(Index, "decode", lambda self, row: decoded.append(row) or decode(self, row))
    monkeypatch.setattr(teacher.network, "forward_features", lambda x: seen.append(len(x)) or forward(x))
    return decoded, seen


def test_one_decode_for_each_image_and_one_forward_pass_for_each_candidate(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops, teacher, settings = two_crops(animals), tiny_teacher(3), EmbedConfig("teacher", batch_size=25)
    decoded, seen = counted(monkeypatch, teacher)
    facts = embed_images(animals, crops, teacher, teacher, settings, 16, TrainerConfig().parallel, tmp_path)
    assert facts == {"images": 90, "crops": 179}
    assert decoded == list(range(90))
    assert sum(seen) == 179 + 90
    table, rows, side = EmbedTable(embed_shards(tmp_path, 90), crops.starts), np.array([0, 40]), 7
    assert patch_side(crops, animals, 16) == side
    views = {
        "crop": [(0, crops.boxes[0], side), (40, crops.boxes[79], side), (40, crops.boxes[80], side)],
        "image": [(row, animals.square_boxes()[row], 16) for row in rows],
    }
    for kind, wanted in views.items():
        images = torch.stack([animals.read(row, size, tuple(box.tolist())) for row, box, size in wanted]) / 255
        labels, features = torch.from_numpy(animals.labels[[row for row, *_ in wanted]]), teacher.features(images)
        losses = F.cross_entropy(teacher.head(features), labels, reduction="none")
        np.testing.assert_allclose(table.read(rows, "features")[kind], features.numpy(), atol=2e-3)
        np.testing.assert_allclose(table.read(rows, "loss")[kind], losses.numpy(), atol=1e-4)
        np.testing.assert_allclose(table.read(rows, "channel_stats")[kind], channel_stats(images).numpy(), atol=5e-4)


@pytest.mark.parametrize("fields", [("features",), ("loss",), ()])
def test_what_is_not_asked_for_is_not_there(animals: Index, tmp_path: Path, fields: tuple[str, ...]) -> None:
    """And images without crops are among the others."""
    few, teacher, trainer = animals.take(np.arange(6)), tiny_teacher(3), TrainerConfig().parallel
    network, judge = (teacher if name in fields else None for name in ("features", "loss"))
    settings = EmbedConfig("teacher", batch_size=2)
    embed_images(few, None, network, judge, settings, 16, trainer, tmp_path / "alone")
    wanted = sorted(["channel_stats", *fields])
    assert sorted(load_file(embed_shards(tmp_path / "alone", 6).path(0))) == [f"image.{name}" for name in wanted]
    boxes = few.square_boxes()[4:5]
    crops = Crops(np.array([0, 0, 0, 0, 0, 1, 1]), np.array([4]), boxes, np.zeros(1, np.float32))
    embed_images(few, crops, network, judge, settings, 16, trainer, tmp_path / "one")
    table = EmbedTable(embed_shards(tmp_path / "one", 6), crops.starts)
    for name in wanted:
        found = table.read(np.array([0, 4]), name)
        np.testing.assert_allclose(found["crop"], found["image"][1:], atol=1e-3)


def test_entropies_are_those_of_the_teachers_prediction(animals: Index, tmp_path: Path) -> None:
    teacher, settings = tiny_teacher(3), EmbedConfig("teacher", batch_size=40)
    trainer = TrainerConfig().parallel
    embed_images(animals, None, teacher, teacher, settings, 16, trainer, tmp_path, entropy=True)
    shares = teacher(animals.read_all(16) / 255).softmax(1).double().numpy()
    found = EmbedTable(embed_shards(tmp_path, 90)).read(np.arange(90), "entropy")["image"]
    np.testing.assert_allclose(found, -(shares * np.log(shares)).sum(1), atol=1e-4)


def test_only_missing_shards_are_embedded_and_batches_change_nothing(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "embed_shards", lambda folder, rows: ShardPlan(folder, rows, 40, ".safetensors"))
    crops, teacher, trainer = two_crops(animals), tiny_teacher(3), TrainerConfig().parallel
    for name, batch_size in (("whole", 40), ("rest", 15)):
        for shard in (tmp_path / "whole").glob("*shard-00000*"):
            write_bytes(tmp_path / "rest" / shard.name, shard.read_bytes())
            decoded, _ = counted(monkeypatch, teacher)
        settings = EmbedConfig("teacher", batch_size=batch_size)
        embed_images(animals, crops, teacher, teacher, settings, 16, trainer, tmp_path / name)
    assert decoded == list(range(40, 90))
    for shard in (tmp_path / "whole").glob("shard-*"):
        one, other = load_file(shard), load_file(tmp_path / "rest" / shard.name)
        assert list(one) == list(other)
        for field, values in one.items():
            np.testing.assert_allclose(other[field], values, atol=2e-3)


@pytest.mark.parametrize(("part", "field"), [("features", "features"), ("head", "loss")])
def test_a_value_that_is_not_finite_names_its_image(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, field: str
) -> None:
    crops, teacher, settings = two_crops(animals), tiny_teacher(3), EmbedConfig("teacher", batch_size=10)
    plain, seen = getattr(teacher, part), list[int]()

    def poisoned(values: torch.Tensor) -> torch.Tensor:
        out = plain(values).clone()
        if sum(seen) == 19 + 10:  # the crops of the second batch: of images 10, 10, 11, ...
            out[2] = torch.inf
        seen.append(len(out))
        return out

    monkeypatch.setattr(teacher, part, poisoned)
    with pytest.raises(NumericalError, match=f"image {animals.ids[11]}: the {field} of its crop is not finite"):
        embed_images(animals, crops, teacher, teacher, settings, 16, TrainerConfig().parallel, tmp_path)
    assert not list(tmp_path.glob("shard-*"))


def test_the_teacher_sees_what_is_composed() -> None:
    teacher, settings = tiny_teacher(3), EmbedConfig("teacher")
    selection = SimpleNamespace(embeds=("features",), scored_by="prior")
    evaluation = SimpleNamespace(quality=False)
    e = SimpleNamespace(embed=settings, methods=[SimpleNamespace(selection=selection)], evaluation=evaluation)
    trial = Trial(e, e.methods[0], 0, None, None)
    assert run.network_of(trial, teacher) is teacher
    assert [settings.shown(side) for side in (8, 16)] == [8, 16]


def test_another_network_is_loaded_only_where_its_features_are_read() -> None:
    """Neither weights from the hub nor the prior are asked for by a selection of losses and channel statistics."""
    selection = SimpleNamespace(embeds=("loss", "channel_stats"), scored_by="prior")
    for settings in (TimmEmbedConfig("timm", architecture="there_is_none"), BackboneEmbedConfig("backbone", size=32)):
        e = SimpleNamespace(
            embed=settings,
            methods=[SimpleNamespace(selection=selection)],
            evaluation=SimpleNamespace(quality=False),
        )
        assert run.network_of(Trial(e, e.methods[0], 0, None, None), None) is None


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
    network = settings.network(lambda: (denoiser, conditions))
    assert isinstance(network, PriorNetwork)
    assert settings.shown(8) == settings.shown(32) == family.image_size
    images = animals.read_all(family.image_size)[:6].float() / 255
    found = network.features(images)
    assert found.shape == (6, WIDTH.get(name, 32))
    assert found.isfinite().all()
    assert (found - found[:1]).abs().max() > 1e-3  # they tell images apart
    torch.testing.assert_close(network.features(images[[4, 1]]), found[[4, 1]], atol=1e-5, rtol=1e-4)
    other = BackboneEmbedConfig("backbone", size=family.image_size, seed=1)
    again = other.network(lambda: (denoiser, conditions))
    assert not torch.allclose(again.features(images), found, atol=1e-4)


def test_the_middle_of_a_unet_is_its_middle_block_under_the_reference(animals: Index, tmp_path: Path) -> None:
    """Written out: noise at the level, no class, the block's output averaged over positions."""
    family = CLASSES["class_unet"]
    denoiser = family.settings(family.write(tmp_path)).load(CPU)
    images = animals.read_all(16)[:3]
    settings = BackboneEmbedConfig("backbone", size=16, level=0.3)
    network = settings.network(lambda: (denoiser, Conditions([0, 1, 2], 3)))
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
