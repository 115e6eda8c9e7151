"""Small networks with random weights in the real file layouts: where a prior from scratch begins."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from ddselect.runtime.files import read_text, write_json, write_text

disable_progress_bar()  # of every part that is written
# Nichol and Dhariwal (2021)
COSINE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"}
_TEXT_WIDTH, _TEXT_TOKENS = 64, 12


@dataclass(frozen=True)
class Shape:
    """Of a small network."""

    image_size: int  # side of an image in pixels
    channels: Sequence[int]  # widths per level
    patch: int  # pixels per side that are folded into channels
    seed: int  # seed of the weights


def write_class_unet(folder: Path, classes: Sequence[str], shape: Shape) -> None:
    """A class-conditional UNet2DModel; the class index after the last is the null class.

    Attention in the middle block only: it is what lets a small network find the class in clutter.
    """
    with torch.random.fork_rng():
        torch.manual_seed(shape.seed)
        unet = UNet2DModel(**_body(shape), num_class_embeds=len(classes) + 1, attention_head_dim=16)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    DDPMScheduler.from_config(COSINE).save_pretrained(folder / "scheduler")
    write_json(folder / "model_index.json", {"id2label": dict(enumerate(classes)), "patch": shape.patch})


def write_text_unet(folder: Path, texts: Sequence[str], shape: Shape) -> None:
    """A text-conditional UNet in the layout of Stable Diffusion, without a VAE: it works on folded pixels.

    The tokenizer's vocabulary is the words of the texts and their characters. The network attends to the text in its
    middle block, and takes a pooled embedding of it with the time, from which a small network learns faster.
    """
    tokenizer_files(folder / "tokenizer", texts)
    with torch.random.fork_rng():
        torch.manual_seed(shape.seed)
        vocabulary = len(json.loads(read_text(folder / "tokenizer" / "vocab.json")))
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=_TEXT_WIDTH,
                intermediate_size=2 * _TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=_TEXT_TOKENS,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )
        unet = UNet2DConditionModel(
            **_body(shape),
            mid_block_type="UNetMidBlock2DCrossAttn",
            cross_attention_dim=_TEXT_WIDTH,
            attention_head_dim=4,
            addition_embed_type="text",
            addition_embed_type_num_heads=4,
        )
        # distinct words from the beginning: otherwise the class is lost among the other tokens for thousands of steps
        nn.init.normal_(encoder.get_input_embeddings().weight)
        # the attention adds nothing at first: the network denoises before it reads
        nn.init.zeros_(unet.mid_block.attentions[0].proj_out.weight)
        nn.init.zeros_(unet.mid_block.attentions[0].proj_out.bias)
    encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    DDPMScheduler.from_config(COSINE).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "patch": shape.patch,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    write_json(folder / "model_index.json", index)


def _body(shape: Shape) -> dict[str, Any]:
    """What the UNets of both kinds have in common: convolutions at every level, conditioned by scale and shift."""
    return {
        "sample_size": shape.image_size // shape.patch,
        "in_channels": 3 * shape.patch**2,
        "out_channels": 3 * shape.patch**2,
        "layers_per_block": 1,
        "block_out_channels": tuple(shape.channels),
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D",) * len(shape.channels),
        "up_block_types": ("UpBlock2D",) * len(shape.channels),
        "resnet_time_scale_shift": "scale_shift",
    }


def tokenizer_files(folder: Path, texts: Sequence[str]) -> None:
    """A CLIP tokenizer (byte-pair encoding) whose merges build the words of some texts.

    A word stays in pieces where another's beginning is merged out of its middle first (photo beside honey).
    """
    words = sorted({word for text in texts for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())})
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz0123456789", *"".join(words)})
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[str] = []
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merge = f"{parts[0]} {parts[1]}"
            parts = ["".join(parts[:2]), *parts[2:]]
            if merge not in merges:
                merges.append(merge)
                tokens.append(parts[0])
    tokens = list(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "vocab.json", json.dumps({token: i for i, token in enumerate(tokens)}))
    write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges))
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=_TEXT_TOKENS, pad_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder)
