"""Low-rank updates of a network's attention (Hu et al. 2022), kept in peft's file layout."""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ddselect.backbone.denoiser import Denoiser
from ddselect.runtime.errors import UserError, sentence

# attention projections of diffusers' UNets and transformers, SD3's second stream included
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]


def require_peft() -> Any:
    """The package that updates are made with.

    Raises:
        UserError: It is missing.
    """
    try:
        import peft
    except ImportError:
        raise UserError("LoRA needs peft; install it with `pip install 'ddselect[lora]'`") from None
    return peft


def add_lora(denoiser: Denoiser, rank: int, seed: int) -> nn.Module:
    """Puts trainable low-rank updates, zero at first, into a denoiser's network, and returns the wrapped network.

    Their first factors are random, by the seed.

    Raises:
        UserError: peft is missing, or the network has no attention to update.
    """
    peft = require_peft()
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, init_lora_weights="gaussian")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            wrapped = peft.get_peft_model(denoiser.network, config)
    except ValueError as error:
        raise UserError(
            f"backbone.adapt.mode=lora: backbone {denoiser.title} has no attention projections to update "
            f"({sentence(error)}); use backbone/adapt=full"
        ) from None
    denoiser.network = wrapped.base_model.model
    return wrapped


def adapter_file(folder: Path) -> Path:
    """The file of an adapter's weights.

    Raises:
        UserError: It is missing.
    """
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError(f"backbone.lora={folder}: no adapter_model.safetensors there; peft writes such folders")
    return file


def merge_lora(denoiser: Denoiser, folder: Path) -> None:
    """Merges an adapter into a denoiser's weights, so that it costs nothing while scoring.

    Raises:
        UserError: peft is missing, or the folder holds no adapter for this network.
    """
    peft, file = require_peft(), adapter_file(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about missing layers, of which peft would make none
            wrapped = peft.PeftModel.from_pretrained(denoiser.network, folder)
        with safe_open(file, "pt") as stored:
            odd = set(stored.keys()) ^ set(peft.get_peft_model_state_dict(wrapped))
        if odd:
            raise ValueError(f"{min(odd)} is in one of them only")
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise UserError(f"backbone.lora={folder}: does not fit backbone {denoiser.title}: {sentence(error)}") from None
    denoiser.network = wrapped.merge_and_unload().requires_grad_(False)
