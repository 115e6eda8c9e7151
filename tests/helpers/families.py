"""Tiny random models of every family, of the real classes and with the files that the real repositories have."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from ddselect.backbone.blueprint import tokenizer_files
from ddselect.backbone.choice import (
    BackboneConfig,
    ClassUNetConfig,
    DiTConfig,
    StableDiffusion3Config,
    StableDiffusionConfig,
    StableDiffusionXLConfig,
)
from tests.helpers.models import write_class_unet, write_ddpm, write_dit

WORDS = [
    *("a", "an", "the", "photo", "of", "face", "ant", "bee", "cow", "insect", "animal", "with", "six", "legs", "that"),
    *("gives", "milk", "makes", "wax", "0", "1", "2", "!"),
]
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "clip_sample": False,
    "steps_offset": 1,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
}


@dataclass(frozen=True)
class Family:
    """A family of priors in small.

    Attributes:
        option: Its option in ``conf/backbone``.
        write: Writes a model into a folder, and returns that.
        kind: Its settings.
        image_size: Side in pixels of its images.
    """

    option: str
    write: Callable[[Path], Path]
    kind: type[BackboneConfig]
    image_size: int = 16

    def settings(self, folder: Path | str, **options: Any) -> BackboneConfig:
        """Settings of a model in a folder, in fp32 unless they say something else."""
        return self.kind(f"tiny {self.option}", str(folder), self.image_size, **{"dtype": "fp32", **options})


def write_sd15(folder: Path) -> Path:
    """Stable Diffusion 1.5: epsilon, which its scheduler's config does not say; attention of its VAE in old names."""
    write_clip_tokenizer(folder / "tokenizer", pad=END)
    with _seeded():
        _write_clip(folder / "text_encoder", CLIPTextModel, 16)
        _write(folder / "unet", _unet(cross_attention_dim=16))
        vae = _vae(scaling_factor=0.18215)
    _write(folder / "vae", vae)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    _rename(folder / "vae" / "diffusion_pytorch_model.safetensors", old)
    _forget(folder / "vae" / "config.json", "force_upcast", "shift_factor", "use_quant_conv", "use_post_quant_conv")
    _write_scheduler(folder, {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", **_STABLE_DIFFUSION})
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    _write_index(folder, "StableDiffusionPipeline", "PNDMScheduler", "unet", ["CLIPTextModel"], **checker)
    return folder


def write_sd21(folder: Path) -> Path:
    """Stable Diffusion 2.1: v-prediction, linear projections, OpenCLIP's text model and padding."""
    write_clip_tokenizer(folder / "tokenizer", pad="!")
    with _seeded():
        _write_clip(folder / "text_encoder", CLIPTextModel, 32, hidden_act="gelu")
        unet = _unet(cross_attention_dim=32, attention_head_dim=[2, 4], use_linear_projection=True)
        _write(folder / "unet", unet)
        _write(folder / "vae", _vae(scaling_factor=0.18215, force_upcast=False))
    config = {"_class_name": "DDIMScheduler", **_STABLE_DIFFUSION, "prediction_type": "v_prediction"}
    _write_scheduler(folder, config)
    checker = {"safety_checker": [None, None], "requires_safety_checker": False}
    _write_index(folder, "StableDiffusionPipeline", "DDIMScheduler", "unet", ["CLIPTextModel"], **checker)
    return folder


def write_sdxl(folder: Path) -> Path:
    """Stable Diffusion XL: two text models, the second with a projection; size and crop ids."""
    write_clip_tokenizer(folder / "tokenizer", pad=END)
    write_clip_tokenizer(folder / "tokenizer_2", pad="!")
    with _seeded():
        _write_clip(folder / "text_encoder", CLIPTextModel, 16)
        _write_clip(folder / "text_encoder_2", CLIPTextModelWithProjection, 32, hidden_act="gelu")
        unet = _unet(
            cross_attention_dim=48,
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            transformer_layers_per_block=[1, 2],
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=32 + 6 * 8,
        )
        _write(folder / "unet", unet)
        _write(folder / "vae", _vae(scaling_factor=0.13025, force_upcast=True))
    config = {**_STABLE_DIFFUSION, "prediction_type": "epsilon", "timestep_spacing": "leading"}
    _write_scheduler(folder, {"_class_name": "EulerDiscreteScheduler", **config})
    encoders = ["CLIPTextModel", "CLIPTextModelWithProjection"]
    zeros = {"force_zeros_for_empty_prompt": True, "add_watermarker": None}
    _write_index(folder, "StableDiffusionXLPipeline", "EulerDiscreteScheduler", "unet", encoders, **zeros)
    return folder


def write_sd3(folder: Path, t5: bool = True) -> Path:
    """Stable Diffusion 3: flow matching, a shifted VAE of 16 channels, two CLIP models with projections, and T5."""
    write_clip_tokenizer(folder / "tokenizer", pad=END)
    write_clip_tokenizer(folder / "tokenizer_2", pad="!")
    with _seeded():
        _write_clip(folder / "text_encoder", CLIPTextModelWithProjection, 16)
        _write_clip(folder / "text_encoder_2", CLIPTextModelWithProjection, 32, hidden_act="gelu")
        transformer = SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=16,
            pooled_projection_dim=48,
            pos_embed_max_size=12,
        )
        _write(folder / "transformer", transformer)
        no_convolutions = {"use_quant_conv": False, "use_post_quant_conv": False}
        _write(
            folder / "vae", _vae(16, scaling_factor=1.5305, shift_factor=0.0609, force_upcast=True, **no_convolutions)
        )
        if t5:
            write_t5_tokenizer(folder / "tokenizer_3")
            config = T5Config(
                vocab_size=256, d_model=64, d_kv=8, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
            )
            _write(folder / "text_encoder_3", T5EncoderModel(config))
    _write_scheduler(
        folder, {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
    )
    encoders = ["CLIPTextModelWithProjection"] * 2 + (["T5EncoderModel"] if t5 else [])
    missing = {} if t5 else {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    name = "StableDiffusion3Pipeline"
    _write_index(folder, name, "FlowMatchEulerDiscreteScheduler", "transformer", encoders, **missing)
    return folder


def write_sd3_without_t5(folder: Path) -> Path:
    """The same without the third text model, as it is often kept to save memory."""
    return write_sd3(folder, t5=False)


def write_ddpm_in_parts(folder: Path) -> Path:
    """An unconditional UNet2DModel with ``unet/`` and ``scheduler/``, as diffusers' own training script leaves it."""
    write_ddpm(folder)
    for part, names in {
        "unet": ("config.json", "diffusion_pytorch_model.safetensors"),
        "scheduler": ("scheduler_config.json",),
    }.items():
        (folder / part).mkdir()
        for name in names:
            (folder / name).rename(folder / part / name)
    return folder


TEXT = {
    "sd15": Family("sd15", write_sd15, StableDiffusionConfig),
    "sd21": Family("sd21", write_sd21, StableDiffusionConfig),
    "sdxl": Family("sdxl", write_sdxl, StableDiffusionXLConfig),
    "sd3": Family("sd3", write_sd3, StableDiffusion3Config),
    "sd3_without_t5": Family("sd3", write_sd3_without_t5, StableDiffusion3Config),
}
CLASSES = {
    "dit": Family("dit_xl_2_256", write_dit, DiTConfig, 8),
    "class_unet": Family("class_unet", write_class_unet, ClassUNetConfig),
}
UNCONDITIONAL = {
    "ddpm": Family("ddpm", write_ddpm, ClassUNetConfig),
    "ddpm_in_parts": Family("ddpm", write_ddpm_in_parts, ClassUNetConfig),
}


def write_clip_tokenizer(folder: Path, pad: str) -> None:
    """A CLIP tokenizer of a few words in the four files of the real repositories, which no fast tokenizer wrote."""
    tokenizer_files(folder, WORDS)
    for file in folder.iterdir():
        if file.name not in ("vocab.json", "merges.txt"):
            file.unlink()

    def added(content: str) -> dict[str, Any]:
        return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    special = {"bos_token": added(BEGIN), "eos_token": added(END), "pad_token": pad, "unk_token": added(END)}
    typed = {key: {"__type": "AddedToken", **value} for key, value in special.items() if isinstance(value, dict)}
    config = {**typed, "pad_token": pad, "add_prefix_space": False, "do_lower_case": True, "errors": "replace"}
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json", {**config, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    )


def write_t5_tokenizer(folder: Path) -> None:
    """A T5 tokenizer that knows the same words, as ``tokenizer.json`` beside its configs."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0), *((f"▁{word}", -1.0) for word in WORDS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    _write_json(folder / "special_tokens_map.json", special)
    config = {"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 0, **special}
    _write_json(folder / "tokenizer_config.json", {**config, "additional_special_tokens": []})


@contextmanager
def _seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _unet(**options: Any) -> UNet2DConditionModel:
    base = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 2,
    }
    return UNet2DConditionModel(**{**base, **options})


def _vae(channels: int = 4, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=16,
        **options,
    )


def _write_clip(folder: Path, kind: type[nn.Module], width: int, hidden_act: str = "quick_gelu") -> None:
    """A CLIP text model in the names and with the token numbers of the real files, which are wrong for its tokens."""
    vocabulary = len(
        json.loads((folder.parent / folder.name.replace("text_encoder", "tokenizer") / "vocab.json").read_text())
    )
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=width,
        hidden_act=hidden_act,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    _write(folder, _lively(kind(config)))
    file = folder / "model.safetensors"
    weights = load_file(file)
    tail = [name for name in weights if name.startswith("text_projection")]
    named = {
        name if name in tail else f"text_model.{name.removeprefix('text_model.')}": weights[name] for name in weights
    }
    save_file({**named, "text_model.embeddings.position_ids": torch.arange(77)[None]}, file, {"format": "pt"})


def _lively(module: nn.Module) -> nn.Module:
    """Text that makes a difference: embeddings of an untrained model are close to nothing."""
    for name, weights in module.named_parameters():
        if name.endswith("token_embedding.weight"):
            nn.init.normal_(weights)
    return module


def _write(folder: Path, model: Any) -> None:
    model.save_pretrained(folder, safe_serialization=True)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def _write_scheduler(folder: Path, config: dict[str, Any]) -> None:
    _write_json(folder / "scheduler" / "scheduler_config.json", config)


def _write_index(folder: Path, pipeline: str, scheduler: str, network: str, encoders: list[str], **other: Any) -> None:
    kinds = {"unet": "UNet2DConditionModel", "transformer": "SD3Transformer2DModel"}
    parts: dict[str, Any] = {"scheduler": ["diffusers", scheduler], network: ["diffusers", kinds[network]]}
    for number, encoder in enumerate(encoders, 1):
        ending = "" if number == 1 else f"_{number}"
        parts[f"text_encoder{ending}"] = ["transformers", encoder]
        parts[f"tokenizer{ending}"] = ["transformers", "T5TokenizerFast" if encoder[0] == "T" else "CLIPTokenizer"]
    index = {"_class_name": pipeline, "_diffusers_version": "0.29.0", **other, **parts}
    _write_json(folder / "model_index.json", {**index, "vae": ["diffusers", "AutoencoderKL"]})


def _rename(file: Path, names: dict[str, str]) -> None:
    weights: dict[str, Tensor] = {}
    for name, values in load_file(file).items():
        new = name
        for now, then in names.items():
            new = new.replace(f".{now}.", f".{then}.")
        weights[new] = values
    save_file(weights, file, {"format": "pt"})


def _forget(file: Path, *keys: str) -> None:
    config = json.loads(file.read_text())
    _write_json(file, {key: value for key, value in config.items() if key not in keys})
