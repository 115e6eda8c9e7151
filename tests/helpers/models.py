"""Tiny random models: diffusers folders with the real classes and layout, and a teacher."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel, UNet2DModel

from ddselect.backbone import blueprint
from ddselect.backbone.choice import BackboneConfig, ClassUNetConfig, DiTConfig
from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from ddselect.prompt.conditions import Conditions
from ddselect.prompt.modes import LabelPromptConfig, PromptConfig
from ddselect.runtime.files import write_json, write_tensors
from ddselect.student.models import Classifier, build_network

CPU = torch.device("cpu")


def write_class_unet(
    folder: Path, classes: Sequence[str] = ("ant", "bee", "cow"), image_size: int = 16, patch: int = 2
) -> Path:
    """A random class-conditional UNet, its weights in fp16 as an adaptation leaves them."""
    blueprint.write_class_unet(folder, classes, blueprint.Shape(image_size, [8, 16], patch, 0))
    unet: UNet2DModel = UNet2DModel.from_pretrained(folder / "unet")
    unet.half().save_pretrained(folder / "unet", safe_serialization=True)
    return folder


def class_unet(folder: Path, image_size: int = 16, dtype: str = "fp32") -> ClassUNetConfig:
    """The settings of a UNet2DModel in a folder."""
    return ClassUNetConfig("tiny", str(folder), image_size, dtype)


def load_class_unet(folder: Path, image_size: int = 16) -> Denoiser:
    """The prior of a folder, fp32 on the processor."""
    return class_unet(folder, image_size).load(CPU)


def write_ddpm(folder: Path) -> Path:
    """A random unconditional UNet for 16-pixel images, laid out as google/ddpm-cifar10-32 is: one part, in the root."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=8,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
        )
    unet.save_pretrained(folder, safe_serialization=True)
    DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").save_pretrained(folder)
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["diffusers", "UNet2DModel"]}))
    return folder


def write_dit(folder: Path, latent_side: int = 4) -> Path:
    """A random DiT of two layers with learned sigma, 1000 classes and a VAE of 2 x 2 pixels per position."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            sample_size=latent_side,
            patch_size=2,
            num_embeds_ada_norm=1000,
            norm_num_groups=4,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            sample_size=2 * latent_side,
            scaling_factor=0.18215,
        )
    transformer.save_pretrained(folder / "transformer", safe_serialization=True)
    vae.save_pretrained(folder / "vae", safe_serialization=True)
    DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").save_pretrained(folder / "scheduler")
    return folder


def dit(folder: Path, image_size: int = 8, dtype: str = "fp32") -> DiTConfig:
    """The settings of a DiT in a folder."""
    return DiTConfig("tiny DiT", str(folder), image_size, dtype)


def load_dit(folder: Path, image_size: int = 8) -> Denoiser:
    """The DiT of a folder, fp32 on the processor."""
    return dit(folder, image_size).load(CPU)


def conditions_of(backbone: BackboneConfig, index: Index, prompt: PromptConfig | None = None) -> Conditions:
    """The conditions of a dataset's classes, under their labels if nothing else is said."""
    return backbone.conditions(prompt or LabelPromptConfig(), index.class_names, index.class_folders, CPU)


def tiny_teacher(classes: int, seed: int = 0) -> Classifier:
    """An untrained but deterministic classifier in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network("small_resnet16", classes, None)
    return Classifier(network, [0.5] * 3, [0.5] * 3).eval().requires_grad_(False)


def write_teacher(folder: Path, class_names: Sequence[str]) -> Path:
    """An untrained teacher of some classes, in the files of ``teacher.path``."""
    network = tiny_teacher(len(class_names)).network
    half, outputs = [0.5] * 3, len(class_names)
    card = {"architecture": "small_resnet16", "image_size": None, "outputs": outputs, "mean": half, "std": half}
    write_json(folder / "teacher.json", {**card, "columns": None, "classes": list(class_names)})
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_tensors(folder / "teacher.safetensors", tensors)
    return folder
