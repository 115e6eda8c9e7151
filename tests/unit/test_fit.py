"""A prior's folder is held to its option by its configs, before any work; the option that fits is named."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ddselect.backbone.adapt import AdaptConfig
from ddselect.backbone.choice import BackboneConfig, ClassUNetConfig, StableDiffusionConfig
from ddselect.config import build_experiment
from ddselect.pipeline import run
from ddselect.prompt.modes import NoPromptConfig
from ddselect.runtime.errors import UserError
from tests.helpers.configs import composed
from tests.helpers.families import CLASSES, TEXT, UNCONDITIONAL, Family

ALL = {**TEXT, **CLASSES, **UNCONDITIONAL}
CPU = torch.device("cpu")
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a family's model, written when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return lambda name: root / name if (root / name).exists() else ALL[name].write(root / name)


def check(family: Family, folder: Path | str, **options: Any) -> None:
    family.settings(folder, **options).check_files([family.image_size])


def changed(folder: Path, to: Path, file: str, values: Mapping[str, Any]) -> Path:
    """A copy of a model with other values in one of its configs."""
    shutil.copytree(folder, to)
    old = json.loads((to / file).read_text()) if (to / file).exists() else {}
    (to / file).write_text(json.dumps({**old, **values}))
    return to


@pytest.mark.parametrize("name", ALL)
def test_a_model_of_the_option_is_taken(name: str, folders: Folders) -> None:
    check(ALL[name], folders(name))


@pytest.mark.parametrize(
    "backbone", [ClassUNetConfig("embedded", "embedded", 32), StableDiffusionConfig("t", "embedded_text", 32)]
)
def test_the_embedded_ones_are_taken(backbone: BackboneConfig) -> None:
    backbone.check_files([32])


OPTIONS = {
    "sd15": "sd15",
    "sd21": "sd15",
    "sdxl": "sdxl",
    "sd3": "sd3",
    "dit": "dit_xl_2_256",
    "class_unet": "class_unet",
}
OPTIONS["ddpm"] = "ddpm"


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("other", ["sd15", "sdxl", "sd3", "dit", "class_unet"])
def test_a_model_of_another_option_is_refused_with_that_option(name: str, other: str, folders: Folders) -> None:
    if ALL[name].kind is ALL[other].kind:
        return
    with pytest.raises(UserError, match=rf"another kind of model, .* of backbone={OPTIONS[name]}; set that") as caught:
        check(ALL[other], folders(name))
    assert "\n" not in str(caught.value)


UNET, VAE, XL, DIT = (f"{part}/config.json" for part in ("unet", "vae", "text_encoder_2", "transformer"))
SCHEDULER = "scheduler/scheduler_config.json"
NO_OPTION, PARTS = "whose inputs no option has", "its parts are not of one model"


@pytest.mark.parametrize(
    ("name", "file", "values", "said"),
    [
        ("sd15", UNET, {"in_channels": 9}, f"{PARTS}, in_channels is 9, latent_channels of its VAE 4"),
        ("sd15", VAE, {"latent_channels": 16}, f"{PARTS}, in_channels is 4, latent_channels of its VAE 16"),
        ("sd15", UNET, {"cross_attention_dim": 1024}, f"{PARTS}, the width of its text is 1024, .* text encoders 16"),
        ("sd15", "text_encoder/config.json", {"hidden_size": 32}, f"{PARTS}, the width of its text is 16, .* 32"),
        ("sd15", "text_encoder/config.json", {"model_type": "t5"}, "text_encoder is a t5, a clip_text_model is needed"),
        ("sd15", UNET, {"num_class_embeds": 1000}, NO_OPTION),
        ("sd15", UNET, {"class_embed_type": "projection"}, NO_OPTION),
        ("sd15", UNET, {"addition_embed_type": "text_image"}, NO_OPTION),
        ("sd15", UNET, {"_class_name": "UNet3DConditionModel"}, f"a UNet3DConditionModel {NO_OPTION}"),
        ("sdxl", XL, {"projection_dim": 64}, f"{PARTS}, the width of its added embedding is 80, .* 112"),
        ("sdxl", XL, {"hidden_size": 64}, f"{PARTS}, the width of its text is 48, .* 80"),
        ("sd3", XL, {"projection_dim": 64}, f"{PARTS}, pooled_projection_dim is 48, .* 80"),
        ("sd3", "text_encoder_3/config.json", {"d_model": 32}, f"{PARTS}, joint_attention_dim is 64, .* 32"),
        ("sd3", VAE, {"latent_channels": 4}, f"{PARTS}, in_channels is 16, .* 4"),
        ("dit", DIT, {"num_embeds_ada_norm": 10}, f"{PARTS}, num_embeds_ada_norm is 10, .* 1000"),
        ("dit", DIT, {"_class_name": "PixArtTransformer2DModel", "norm_type": "ada_norm_single"}, NO_OPTION),
        ("class_unet", "model_index.json", {"patch": 4}, f"{PARTS}, in_channels is 12, patch x patch x 3 48"),
        ("class_unet", "model_index.json", {"vqvae": ["diffusers", "VQModel"]}, NO_OPTION),
        ("sd15", SCHEDULER, {"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler has no betas"),
        ("sd15", SCHEDULER, {"prediction_type": "flow_prediction"}, "none of epsilon, v_pred"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_named(
    name: str, file: str, values: dict[str, Any], said: str, folders: Folders, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^backbone tiny .*{said}") as caught:
        check(ALL[name], changed(folders(name), tmp_path / "m", file, values))
    assert "\n" not in str(caught.value)


CODE = [
    ("model_index.json", {"_class_name": "MyPipeline"}, "_class_name: MyPipeline"),
    ("model_index.json", {"_class_name": ["pipeline", "MyPipeline"]}, r"_class_name: \['pipeline', 'MyPipeline'\]"),
    ("model_index.json", {"unet": ["my_unet", "MyUNet"]}, "unet: my_unet"),
    ("model_index.json", {"text_encoder": ["encoder", "MyCLIP"]}, "text_encoder: encoder"),
    (UNET, {"_class_name": "MyUNet"}, "_class_name: MyUNet"),
    (UNET, {"auto_map": {"AutoModel": "unet.MyUNet"}}, "auto_map"),
    (VAE, {"_class_name": "MyVAE"}, "_class_name: MyVAE"),
    (SCHEDULER, {"_class_name": "MyScheduler"}, "_class_name: MyScheduler"),
    ("text_encoder/config.json", {"auto_map": {"AutoModel": "clip.MyCLIP"}}, "auto_map"),
    ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t.My", None]}}, "auto_map"),
]


@pytest.mark.parametrize(("file", "values", "said"), CODE)
def test_a_model_that_asks_for_code_of_its_own_is_refused(
    file: str, values: dict[str, Any], said: str, folders: Folders, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"asks for code of its own \({said}\), which is never run"):
        check(TEXT["sd15"], changed(folders("sd15"), tmp_path / "m", file, values))


@pytest.mark.parametrize(("there", "asked"), [("fp16", ""), ("", "fp16"), ("non_ema", "fp16")])
@pytest.mark.parametrize("early", [True, False])
def test_weights_of_another_variant_are_named(
    there: str, asked: str, early: bool, folders: Folders, tmp_path: Path
) -> None:
    shutil.copytree(folders("sd15"), tmp_path / "m")
    for file in (tmp_path / "m").glob("*/*.safetensors"):
        file.rename(file.with_suffix(f".{there}.safetensors".replace("..", ".")))
    backbone = TEXT["sd15"].settings(tmp_path / "m", variant=asked)
    with pytest.raises(UserError, match=rf"cannot load \S+/\w+: .*set backbone.variant={there or repr('')}$"):
        backbone.check_files([16]) if early else backbone.load(CPU)


@pytest.mark.parametrize(
    "part", ["unet/config.json", "vae", "text_encoder", "tokenizer", "unet/diffusion_pytorch_model.safetensors"]
)
def test_a_part_that_is_missing_is_named(part: str, folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders("sd15"), tmp_path / "m")
    gone = tmp_path / "m" / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(UserError, match=rf"backbone tiny sd15: cannot load {tmp_path}/m/\S+: "):
        check(TEXT["sd15"], tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("sd15", 18, "image size 18 is not a multiple of 4"),
        ("sd15", 17, "image size 17 is not a multiple of 4"),
        ("sd3", 52, "takes 48 px at most, not 52"),
        ("dit", 16, "takes 8 px, not 16: set backbone.image_size=8"),
        ("class_unet", 18, "image size 18 is not a multiple of 4"),
    ],
)
def test_a_size_that_does_not_suit_is_refused(name: str, side: int, said: str, folders: Folders) -> None:
    with pytest.raises(UserError, match=said):
        ALL[name].settings(folders(name)).check_files([side])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora": "nowhere"}, "backbone.lora=nowhere: no adapter_model.safetensors there"),
        ({"lora": "here", "adapt": AdaptConfig("lora")}, "backbone.lora=here would be lost"),
    ],
)
def test_an_adapter_that_cannot_be_had_is_refused(options: dict[str, Any], said: str, folders: Folders) -> None:
    with pytest.raises(UserError, match=said):
        check(TEXT["sd15"], folders("sd15"), **options)


def test_from_scratch_its_folder_is_not_looked_at() -> None:
    check(CLASSES["class_unet"], "nowhere", adapt=AdaptConfig("scratch"))
    with pytest.raises(UserError, match="image size 12 is not a multiple of 8"):
        CLASSES["class_unet"].settings("nowhere", adapt=AdaptConfig("scratch")).check_files([12])
    with pytest.raises(UserError, match="too large to train from scratch"):
        check(CLASSES["dit"], "nowhere", adapt=AdaptConfig("scratch"))


def test_it_is_refused_before_the_images_are_looked_at(folders: Folders, tmp_path: Path) -> None:
    settings = (
        "backbone=sd15",
        f"backbone.path={folders('sdxl')}",
        "backbone.image_size=16",
        f"store={tmp_path / 's'}",
    )
    with pytest.raises(UserError, match="backbone=sdxl"):
        run(build_experiment(composed(*settings)), tmp_path)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["sd3", "sd15", "class_unet"])
def test_every_weight_has_the_asked_precision_whatever_the_loader_does(
    name: str, dtype: str, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without accelerate, diffusers leaves some networks as they are on the disk."""
    monkeypatch.setattr("diffusers.models.modeling_utils.is_accelerate_available", lambda: False)
    backbone, wanted = (
        ALL[name].settings(folders(name), dtype=dtype),
        getattr(torch, {"bf16": "bfloat16", "fp16": "float16"}[dtype]),
    )
    denoiser = backbone.load(CPU)
    assert {weights.dtype for weights in denoiser.network.parameters()} == {wanted}
    if dtype == "bf16":
        denoiser.install(backbone.conditions(NoPromptConfig(), ["a"], ["a"], CPU).table)
        noisy = torch.zeros(1, *denoiser.latent_shape(16))
        assert denoiser.predict(noisy, torch.tensor([500]), torch.tensor([0])).dtype == torch.float32
