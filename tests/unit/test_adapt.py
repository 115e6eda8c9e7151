"""The prior fine-tuned on the dataset, or a small one trained from scratch, and what scoring makes of it."""

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from diffusers import UNet2DModel
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel

from ddselect.backbone import adapting, blueprint
from ddselect.backbone.adapt import AdaptConfig
from ddselect.backbone.adaptation import LOSSES, AdaptModule, Lessons, train_prior
from ddselect.backbone.adapting import adapt_backbone
from ddselect.backbone.choice import LORA, MODEL, BackboneConfig, adapted
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.lora import TARGETS, add_lora
from ddselect.dataset.index import Index
from ddselect.prompt.modes import LabelPromptConfig, NoPromptConfig, PromptConfig, TextPromptConfig
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.maps import read_image_scores, read_maps
from tests.fault.runs import SMALL, only, run_here
from tests.helpers.families import CLASSES, TEXT, UNCONDITIONAL, write_sd15
from tests.helpers.models import CPU, conditions_of, write_class_unet

ALL = {**TEXT, **CLASSES, **UNCONDITIONAL}
SHORT = AdaptConfig("full", steps=10, batch_size=6, learning_rate=2e-3, warmup=3, precision="fp32", checkpoint_every=3)
LONG = replace(SHORT, steps=60, batch_size=10, average=0.9, checkpoint_every=15)
SMALL_NETWORK = {"mode": "scratch", "channels": [8, 16], "learning_rate": 3e-3}
Make = Callable[..., pl.Trainer]


class UnpluggedError(Exception):
    """What ends a training in the middle."""


class Unplug(Callback):
    """Ends the training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise UnpluggedError


def trainer(*more: Callback) -> Make:
    """As a run makes them, with further callbacks."""

    def make(callbacks: list[Callback], **options: Any) -> pl.Trainer:
        return TrainerConfig(threads=1).parallel([*callbacks, *more], **options)

    return make


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    """A random class-conditional UNet."""
    return CLASSES["class_unet"].settings(write_class_unet(tmp_path_factory.mktemp("unet")))


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    """A random Stable Diffusion."""
    return TEXT["sd15"].settings(write_sd15(tmp_path_factory.mktemp("sd")))


def adapt(
    backbone: BackboneConfig, settings: AdaptConfig, index: Index, folder: Path, prompt: PromptConfig | None = None
) -> BackboneConfig:
    """The adapted backbone."""
    backbone = replace(backbone, adapt=settings)
    adapt_backbone(backbone, prompt or LabelPromptConfig(), index, CPU, trainer(), folder)
    return adapted(backbone, folder)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / LOSSES).read_text().splitlines()]


def error(backbone: BackboneConfig, index: Index, prompt: PromptConfig | None = None) -> float:
    """Mean loss of all images at fixed timesteps and noises, under their own conditions."""
    conditions, denoiser = conditions_of(backbone, index, prompt), backbone.load(CPU)
    denoiser.install(conditions.table)
    latents = denoiser.encode(index.read_all(backbone.image_size))
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = torch.randint(1000, (len(latents),), generator=generator)
    with torch.inference_mode():
        positive = torch.tensor(conditions.positive)[torch.tensor(index.labels)]
        return float(denoiser.loss(latents, noise, timesteps, positive).mean())


def weights(folder: Path) -> dict[str, bytes]:
    """Content of all weight files, by their place."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- all weights ------------------------------------------------------------------------------------------------------


def test_full_teaches_a_class_unet(unet: BackboneConfig, animals: Index, tmp_path: Path) -> None:
    before = files(Path(unet.path))
    found = adapt(unet, LONG, animals, tmp_path)
    steps = losses(tmp_path)
    assert len(steps) == 4
    assert steps[-1] < 0.9 * steps[0]
    assert error(found, animals) < 0.9 * error(unet, animals)
    assert files(Path(unet.path)) == before
    assert found == replace(unet, path=str(tmp_path / MODEL))  # nothing else about it is new
    assert {path.name for path in tmp_path.glob("[!.]*")} == {MODEL, LOSSES}


def test_full_leaves_all_but_the_network_as_it_was(sd: BackboneConfig, animals: Index, tmp_path: Path) -> None:
    found = adapt(sd, LONG, animals, tmp_path, TextPromptConfig())
    assert error(found, animals, TextPromptConfig()) < 0.9 * error(sd, animals, TextPromptConfig())
    mine, before = files(tmp_path / MODEL), files(Path(sd.path))
    assert mine.keys() == before.keys()
    changed = {name for name in before if mine[name] != before[name]}
    assert changed == {"unet/diffusion_pytorch_model.safetensors"}
    new, old = (load_file(Path(b.path) / "unet/diffusion_pytorch_model.safetensors") for b in (found, sd))
    assert new.keys() == old.keys()
    assert not [name for name in old if torch.equal(new[name].float(), old[name].half().float())]  # all are trained


def test_a_variant_of_the_weight_files_stays_one(sd: BackboneConfig, animals: Index, tmp_path: Path) -> None:
    shutil.copytree(sd.path, tmp_path / "m")
    for file in (tmp_path / "m").glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    found = adapt(replace(sd, path=str(tmp_path / "m"), variant="fp16"), SHORT, animals, tmp_path / "out")
    assert error(found, animals) != error(sd, animals)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_every_family_is_trained_in_all_its_weights(name: str, mode: str, tmp_path: Path) -> None:
    """A weight that no gradient reaches would stop a training on several ranks."""
    backbone = ALL[name].settings(ALL[name].write(tmp_path / "m"))
    if mode == "lora" and name.startswith("ddpm"):
        with pytest.raises(UserError, match="no attention projections to update"):
            add_lora(_without_attention(backbone), 2, 0)
        return
    denoiser = backbone.load(CPU)
    if mode == "lora":
        add_lora(denoiser, 2, 0)
    else:
        denoiser.network.requires_grad_(True)
    prompt = NoPromptConfig() if name in UNCONDITIONAL else LabelPromptConfig()
    conditions = backbone.conditions(prompt, ["ant"], ["n02219486"], CPU)
    denoiser.install(conditions.table)
    latents = torch.randn(2, *denoiser.latent_shape(backbone.image_size))
    chosen = torch.tensor([conditions.positive[0], conditions.reference or 0])
    denoiser.loss(latents, torch.randn_like(latents), torch.tensor([100, 800]), chosen).mean().backward()
    trained = {name: p for name, p in denoiser.network.named_parameters() if p.requires_grad}
    assert trained
    assert not [name for name, p in trained.items() if p.grad is None]
    assert all("lora_" in name for name in trained) == (mode == "lora")


def _without_attention(backbone: BackboneConfig) -> Denoiser:
    """The same prior with convolutions only."""
    denoiser = backbone.load(CPU)
    config = {**denoiser.network.config, "add_attention": False}
    denoiser.network = UNet2DModel.from_config(config)
    return denoiser


# --- low-rank updates -------------------------------------------------------------------------------------------------


class TestLora:
    """On a Stable Diffusion."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, sd: BackboneConfig, animals: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("lora")
        adapt(sd, replace(LONG, mode="lora", rank=2, learning_rate=2e-2), animals, folder)
        return folder

    def test_only_the_adapter_is_kept(self, folder: Path) -> None:
        assert {path.name for path in folder.glob("[!.]*")} == {LORA, LOSSES}
        rows = load_file(folder / LORA / "adapter_model.safetensors")
        assert {name.split(".lora_")[0].rpartition(".")[2] for name in rows} == {"to_q", "to_k", "to_v", "0"}
        assert all(min(matrix.shape) == 2 for matrix in rows.values())

    def test_only_the_adapter_was_trained(self, folder: Path, sd: BackboneConfig) -> None:
        """What is merged are the base's own weights and the product of the factors, in the attention alone."""
        merged, base = (b.load(CPU).network.state_dict() for b in (replace(sd, lora=str(folder / LORA)), sd))
        rows = load_file(folder / LORA / "adapter_model.safetensors")
        assert merged.keys() == base.keys()
        for name, weight in base.items():
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            if f"{stem}.lora_A.weight" in rows:
                assert any(stem.endswith(target) for target in TARGETS)
                update = rows[f"{stem}.lora_B.weight"] @ rows[f"{stem}.lora_A.weight"]
                assert update.abs().max() > 1e-4
                torch.testing.assert_close(merged[name], weight + update)
            else:
                assert torch.equal(merged[name], weight)

    def test_it_helps(self, folder: Path, sd: BackboneConfig, animals: Index) -> None:
        found = adapted(replace(sd, adapt=AdaptConfig("lora")), folder)
        assert found == replace(sd, lora=str(folder / LORA))
        assert error(found, animals) < 0.995 * error(sd, animals)

    def test_the_seed_decides_it(self, sd: BackboneConfig, animals: Index, tmp_path: Path) -> None:
        """Whatever was drawn before."""
        for number, seed in enumerate((0, 0, 1)):
            torch.manual_seed(number)
            adapt(sd, replace(SHORT, mode="lora", seed=seed), animals, tmp_path / str(number))
        first, same, other = (weights(tmp_path / str(number)) for number in range(3))
        assert first == same
        assert first != other

    def test_a_second_adapter_is_refused(
        self, folder: Path, sd: BackboneConfig, animals: Index, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=r"backbone/adapt=lora: backbone.lora=.* would be lost"):
            adapt(replace(sd, lora=str(folder / LORA)), replace(SHORT, mode="lora"), animals, tmp_path)

    def test_an_adapter_of_another_network_is_refused(
        self, folder: Path, unet: BackboneConfig, sd: BackboneConfig
    ) -> None:
        with pytest.raises(UserError, match=r"backbone.lora=.*: does not fit backbone tiny class_unet") as caught:
            replace(unet, lora=str(folder / LORA)).load(CPU)
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match=r"backbone.lora=nowhere: no adapter_model.safetensors there"):
            replace(sd, lora="nowhere").load(CPU)

    def test_without_peft_it_says_how_to_get_it(
        self, sd: BackboneConfig, animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(UserError, match=r"LoRA needs peft; install it with `pip install 'ddselect\[lora\]'`"):
            adapt(sd, replace(SHORT, mode="lora"), animals, tmp_path)


# --- from scratch -----------------------------------------------------------------------------------------------------


def test_scratch_teaches_the_datasets_classes_to_a_new_unet(animals: Index, tmp_path: Path) -> None:
    nowhere = CLASSES["class_unet"].settings("there is none yet")
    found = adapt(nowhere, replace(LONG, **SMALL_NETWORK), animals, tmp_path)
    steps = losses(tmp_path)
    assert steps[-1] < 0.8 * steps[0]
    assert {path.name for path in tmp_path.glob("[!.]*")} == {MODEL, LOSSES}
    assert conditions_of(found, animals).words == ["class 0", "class 1", "class 2", "null class 3"]
    assert json.loads((tmp_path / MODEL / "model_index.json").read_text())["id2label"] == {
        "0": "ant",
        "1": "bee",
        "2": "cow",
    }
    network = found.load(CPU).network
    assert list(network.config["block_out_channels"]) == [8, 16]
    assert network.config["in_channels"] == 12


def test_scratch_teaches_the_datasets_prompts_to_a_new_text_model(animals: Index, tmp_path: Path) -> None:
    prompt = TextPromptConfig(["a photo of a {label}", "the {label}"], [""])
    nowhere, settings = TEXT["sd15"].settings("there is none yet"), replace(LONG, **SMALL_NETWORK)
    found = adapt(nowhere, settings, animals, tmp_path / "out", prompt)
    steps = losses(tmp_path / "out")
    assert steps[-1] < 0.8 * steps[0]
    texts = [f"{start} {name}" for name in ("ant", "bee", "cow") for start in ("a photo of a", "the")]
    blueprint.write_text_unet(tmp_path / "new", [*texts, ""], blueprint.Shape(16, [8, 16], 2, 0))
    made, new = weights(tmp_path / "out" / MODEL), weights(tmp_path / "new")
    assert made.keys() == new.keys() == {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    trained, start = (
        CLIPTextModel.from_pretrained(f / "text_encoder").state_dict()
        for f in (tmp_path / "out" / MODEL, tmp_path / "new")
    )
    assert [name for name in start if not torch.equal(trained[name].float(), start[name].half().float())]
    words = conditions_of(found, animals, prompt).words
    assert words[0] == "a photo of a ant | the ant"
    blueprint_only = replace(nowhere, path=str(tmp_path / "new"))
    assert error(found, animals, prompt) < 0.8 * error(blueprint_only, animals, prompt)


@pytest.mark.parametrize("name", ["dit", "sdxl", "sd3"])
def test_a_family_that_is_too_large_is_not_trained_from_scratch(name: str, animals: Index, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"backbone tiny .* is too large to train from scratch; use .*lora") as caught:
        adapt(ALL[name].settings("somewhere"), replace(SHORT, mode="scratch"), animals, tmp_path)
    assert "\n" not in str(caught.value)


# --- how it is trained ------------------------------------------------------------------------------------------------


class Record(Callback):
    """Keeps the trained weights after every step."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, AdaptModule)
        self.weights.append([p.detach().clone() for p in pl_module.trained().values()])


@pytest.mark.parametrize("average", [0.0, 0.2, 0.999])
def test_what_is_left_is_the_moving_average(
    average: float, unet: BackboneConfig, animals: Index, tmp_path: Path
) -> None:
    denoiser, record = unet.load(CPU), Record()
    denoiser.network.requires_grad_(True)
    wanted = [p.detach().clone() for p in denoiser.network.parameters()]
    settings, saved = replace(SHORT, average=average), []
    lessons = Lessons([[0], [1], [2]], [3])

    def save() -> None:
        saved.extend(p.detach().clone() for p in denoiser.network.parameters())

    train_prior(denoiser, None, animals, lessons, settings, 16, trainer(record), tmp_path, save)
    assert len(record.weights) == 10
    for step, rows in enumerate(record.weights, 1):
        decay = min(average, (1 + step) / (20 + step)) if average else 0.0  # less of the beginning while it is short
        wanted = [decay * mean + (1 - decay) * row for mean, row in zip(wanted, rows, strict=True)]
    for mine, mean in zip(saved, wanted, strict=True):
        torch.testing.assert_close(mine, mean, atol=1e-6, rtol=1e-5)
    assert [torch.equal(p, row) for p, row in zip(saved, record.weights[-1], strict=True)] == [not average] * len(saved)


def steps_of(backbone: BackboneConfig, index: Index, lessons: Lessons, **options: Any) -> Any:
    """The batches of a training."""
    module = AdaptModule(backbone.load(CPU), None, _steps(backbone, index, lessons, replace(SHORT, **options)), SHORT)
    return module.data


def _steps(backbone: BackboneConfig, index: Index, lessons: Lessons, settings: AdaptConfig) -> Any:
    from ddselect.backbone.adaptation import _Steps

    return _Steps(index, backbone.load(CPU), lessons, settings, backbone.image_size)


TAUGHT = Lessons([[0, 1], [2, 3], [4, 5]], [6, 7])


def test_images_are_shown_under_one_of_their_own_conditions_or_the_reference(
    unet: BackboneConfig, animals: Index
) -> None:
    data = steps_of(unet, animals, TAUGHT, batch_size=200, dropout=0.25, flip=True)
    images, conditions, timesteps, noise, weights = data[3]
    views = animals.read_all(16)
    seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    mirrored = 0
    for image, condition in zip(images, conditions.tolist(), strict=True):
        straight, turned = ((views == view).flatten(1).all(1) for view in (image, image.flip(-1)))
        (row,) = (straight | turned).nonzero().flatten().tolist()
        mirrored += int(not straight[row])
        label = int(animals.labels[row])
        if condition < 6:
            assert condition in TAUGHT.positive[label]
            seen[label].add(condition)
    assert seen == {0: {0, 1}, 1: {2, 3}, 2: {4, 5}}
    assert 30 <= int((conditions >= 6).sum()) <= 70
    assert set(conditions[conditions >= 6].tolist()) == {6, 7}
    assert 70 <= mirrored <= 130
    assert sorted((timesteps // 5).tolist()) == list(range(200))  # one in each equal part
    assert noise.shape == (200, 12, 8, 8)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(weights, torch.ones(200))


def test_a_step_decides_its_batch_and_ranks_divide_it(unet: BackboneConfig, animals: Index) -> None:
    data = steps_of(unet, animals, TAUGHT, batch_size=7, weight_cap=20.0)
    whole = data[4]
    again = steps_of(unet, animals, TAUGHT, batch_size=7, weight_cap=20.0)[4]
    assert all(torch.equal(mine, other) for mine, other in zip(whole, again, strict=True))
    assert not torch.equal(whole[3], data[5][3])
    parts = []
    for rank in range(2):
        data.part = slice(rank, None, 2)
        parts.append(data[4])
    for mine, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(mine[0::2], first)
        assert torch.equal(mine[1::2], second)


def test_losses_are_weighted_where_the_class_shows(unet: BackboneConfig, animals: Index) -> None:
    *_, timesteps, _, weights = steps_of(unet, animals, TAUGHT, batch_size=50, weight_cap=20.0)[0]
    signal = unet.load(CPU).schedule.signal[timesteps]
    wanted = np.minimum(1 / signal.numpy() ** 2, 20)
    assert wanted.max() == 20
    np.testing.assert_allclose(weights.numpy(), wanted / wanted.mean(), rtol=1e-5)


def test_a_loss_that_is_not_finite_is_one_line(unet: BackboneConfig, animals: Index, tmp_path: Path) -> None:
    settings = replace(SHORT, learning_rate=1e30, warmup=0, precision="fp32")
    said = r"backbone tiny .*the loss is not finite before step 3; lower backbone.adapt.learning_rate$"
    with pytest.raises(NumericalError, match=said) as caught:
        adapt(unet, settings, animals, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())  # no checkpoint of it, from which the next attempt would go on


# --- interruptions ----------------------------------------------------------------------------------------------------

MODES = {
    "full": SHORT,
    "lora": replace(SHORT, mode="lora"),
    "scratch": replace(SHORT, **SMALL_NETWORK, weight_cap=5.0),
}


@pytest.fixture(scope="module")
def undisturbed(sd: BackboneConfig, animals: Index, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of trainings that nothing disturbed, by mode."""
    folders = {mode: tmp_path_factory.mktemp(mode) for mode in MODES}
    for mode, folder in folders.items():
        adapt(sd, MODES[mode], animals, folder)
    return folders


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ends", [[2], [7], [3, 8], [10]])
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    mode: str, ends: list[int], sd: BackboneConfig, animals: Index, tmp_path: Path, undisturbed: dict[str, Path]
) -> None:
    """Before the first checkpoint, after some, twice, and in the last step."""
    for step in ends:
        torch.manual_seed(step)  # nothing may come from the process's own generator
        with pytest.raises(UnpluggedError):
            adapt_backbone(
                replace(sd, adapt=MODES[mode]), LabelPromptConfig(), animals, CPU, trainer(Unplug(step)), tmp_path
            )
        assert (tmp_path / "last.ckpt").exists() == (step > 3)
    adapt(sd, MODES[mode], animals, tmp_path)
    assert weights(tmp_path) == weights(undisturbed[mode])
    assert (tmp_path / LOSSES).read_text() == (undisturbed[mode] / LOSSES).read_text()


def test_an_end_while_the_result_is_written(
    sd: BackboneConfig, animals: Index, tmp_path: Path, undisturbed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are done: only the writing is done again."""

    def full(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(adapting, "_write_model", full)
        with pytest.raises(OSError, match="no space"):
            adapt(sd, MODES["full"], animals, tmp_path)
    record = Record()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapt_backbone(replace(sd, adapt=MODES["full"]), LabelPromptConfig(), animals, CPU, trainer(record), tmp_path)
    assert not record.weights
    assert weights(tmp_path) == weights(undisturbed["full"])


def test_how_often_it_is_kept_changes_nothing(
    sd: BackboneConfig, animals: Index, tmp_path: Path, undisturbed: dict[str, Path]
) -> None:
    adapt(sd, replace(MODES["full"], checkpoint_every=100), animals, tmp_path)
    assert weights(tmp_path) == weights(undisturbed["full"])


def test_it_may_be_kept_more_or_less_often_after_an_interruption(
    sd: BackboneConfig, animals: Index, tmp_path: Path, undisturbed: dict[str, Path]
) -> None:
    settings = MODES["full"]
    for end, every in ((7, 3), (9, 2)):
        backbone = replace(sd, adapt=replace(settings, checkpoint_every=every))
        with pytest.raises(UnpluggedError):
            adapt_backbone(backbone, LabelPromptConfig(), animals, CPU, trainer(Unplug(end)), tmp_path)
    adapt(sd, replace(settings, checkpoint_every=5), animals, tmp_path)
    assert [json.loads(line)["step"] for line in (tmp_path / LOSSES).read_text().splitlines()] == [3, 6, 8, 10]
    assert weights(tmp_path) == weights(undisturbed["full"])


def test_images_that_are_not_kept_in_memory_change_nothing(
    sd: BackboneConfig, animals: Index, tmp_path: Path, undisturbed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddselect.backbone.adaptation._IN_MEMORY", 0)
    adapt(sd, replace(MODES["full"], workers=2), animals, tmp_path)
    assert weights(tmp_path) == weights(undisturbed["full"])


# --- in a run ---------------------------------------------------------------------------------------------------------

RUN = [*SMALL, "stages=[scoring]", "backbone.dtype=fp32", "backbone/adapt=full", "backbone.adapt.precision=fp32"]
RUN += ["backbone.adapt.warmup=0", "backbone.adapt.batch_size=6", "scoring.check_prior=false"]


def scores_of(folder: Path, *arguments: str) -> Path:
    """Folder of the scores of a run in this process."""
    ended = run_here(folder, *arguments)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("scoring: store/scoring/")
    return folder / ended.out.removeprefix("scoring: ").strip()


@pytest.mark.slow
def test_scoring_uses_the_adapted_prior(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, *RUN, "backbone.adapt.steps=2")
    model = only(tmp_path / "store" / "backbone") / MODEL
    plain = [word for word in RUN if "adapt" not in word]
    base = scores_of(tmp_path, *plain)
    direct = scores_of(tmp_path, *plain, f"backbone.path={model}")
    assert len({scores, base, direct}) == 3
    assert read_image_scores(scores).equals(read_image_scores(direct))
    mine, others = (read_maps(place, None, 0.75) for place in (scores, base))
    assert not any(np.array_equal(mine[name], others[name]) for name in others)


ALONE = """
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from ddselect.backbone.adapt import AdaptConfig
from ddselect.backbone.adaptation import Lessons, train_prior
from ddselect.backbone.choice import ClassUNetConfig
from ddselect.dataset.index import read_index
from ddselect.runtime.ranks import find_place, rank
from ddselect.runtime.trainer import TrainerConfig

prior, index, out, ranks = *map(Path, sys.argv[1:4]), int(sys.argv[4])
find_place(ranks, 1)
denoiser = ClassUNetConfig("tiny", str(prior), 16, "fp32").load(torch.device("cpu"))
denoiser.network.requires_grad_(True)
settings = AdaptConfig("full", steps=4, batch_size=5, learning_rate=1e-4, warmup=0, weight_cap=20.0, precision="fp32")
out.mkdir(exist_ok=True)

def save() -> None:
    rows = {name: values.contiguous() for name, values in denoiser.network.state_dict().items()}
    save_file(rows, out / "weights.safetensors")

trainer = TrainerConfig(devices=ranks, strategy="ddp" if ranks > 1 else "auto", threads=1)
lessons, images = Lessons([[0], [1], [2]], [3]), read_index(index, index.parent / "images").split("train")
facts = train_prior(denoiser, None, images, lessons, settings, 16, trainer.parallel, out, save)
assert (out / "weights.safetensors").exists()  # also for the rank that did not write it
(out / f"loss-{rank()}").write_text(str(facts["loss"]))
"""


@pytest.mark.slow
def test_two_ranks_train_as_one_does(tmp_path: Path) -> None:
    """In full precision, with parts of a batch that are not of one size."""
    from tests.helpers.data import folder_index, write_folder

    (tmp_path / "index").mkdir()
    folder_index(write_folder(tmp_path / "images"), tmp_path / "index")
    prior = tmp_path / "prior"
    # two channels per group: with one, a bias before a normalisation has no gradient, of which Adam makes any step
    blueprint.write_class_unet(prior, ["ant", "bee", "cow"], blueprint.Shape(16, [16, 32], 2, 0))
    (tmp_path / "alone.py").write_text(ALONE)
    found, said = [], []
    for ranks in (1, 2):
        command = [sys.executable, "alone.py", prior, tmp_path / "index", tmp_path / f"out{ranks}", str(ranks)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        said.append([float(path.read_text()) for path in (tmp_path / f"out{ranks}").glob("loss-*")])
        found.append(load_file(tmp_path / f"out{ranks}" / "weights.safetensors"))
    one, two = found
    start = load_file(prior / "unet" / "diffusion_pytorch_model.safetensors")
    assert max((one[name] - start[name].float()).abs().max() for name in one) > 2e-4
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0)
    assert [len(numbers) for numbers in said] == [1, 2]
    np.testing.assert_allclose(said[1], said[0] * 2, atol=1e-6)  # both know the loss of the whole batch


@pytest.mark.slow
def test_two_ranks_adapt_and_score_as_one_does(tmp_path: Path) -> None:
    """The second rank goes on to the prompts only when the first has written the model."""
    words = [*RUN, "backbone.adapt.steps=4", "backbone.adapt.checkpoint_every=2", "backbone.adapt.learning_rate=1e-4"]
    one = scores_of(tmp_path, *words)
    command = [sys.executable, "-m", "ddselect", *words, "trainer=ddp_cpu", "store=two"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    models = [
        load_file(next(tmp_path.glob(f"{store}/backbone/*/model/unet/*.safetensors"))) for store in ("store", "two")
    ]
    for name, values in models[0].items():
        torch.testing.assert_close(models[1][name].float(), values.float(), atol=1e-5, rtol=2**-10)  # kept in fp16
    two = only(tmp_path / "two" / "scoring")
    assert {stage.name: len(list(stage.iterdir())) for stage in (tmp_path / "two").iterdir()} == {
        "index": 1,
        "backbone": 1,
        "prompt": 1,
        "prior_check": 1,
        "scoring": 1,
    }
    assert (two / "manifest.json").exists()
    mine, others = (read_maps(place, None, 0.75) for place in (one, two))
    assert mine.keys() == others.keys()
    assert max(np.abs(mine[name] - others[name]).max() for name in mine) < 5e-3


def test_more_ranks_than_images_are_refused(unet: BackboneConfig, animals: Index, tmp_path: Path) -> None:
    class Many(pl.Trainer):
        """Claims to be one of many."""

        world_size = 7

    denoiser = unet.load(CPU)
    denoiser.network.requires_grad_(True)

    def make(**_: Any) -> pl.Trainer:
        return Many(logger=False, accelerator="cpu", enable_progress_bar=False)

    with pytest.raises(UserError, match=r"backbone.adapt.batch_size=6: 7 ranks need one image each"):
        train_prior(denoiser, None, animals, TAUGHT, SHORT, 16, make, tmp_path, lambda: None)
