"""Adapts the configured prior to the dataset and leaves a prior that scoring can load."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

from ddselect.backbone import blueprint
from ddselect.backbone.adaptation import Lessons, train_prior
from ddselect.backbone.choice import (
    LORA,
    MODEL,
    BackboneConfig,
    ClassBackboneConfig,
    ClassUNetConfig,
    TextBackboneConfig,
)
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.lora import add_lora
from ddselect.backbone.text import CLIPText
from ddselect.dataset.index import Index, index_of
from ddselect.prompt.modes import PromptConfig
from ddselect.runtime.checkpoints import LAST
from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.integrity import content
from ddselect.runtime.ranks import rank
from ddselect.runtime.trial import Facts, Trial

FRESH = "fresh"


def adapt_backbone(
    backbone: BackboneConfig,
    prompt: PromptConfig,
    index: Index,
    device: torch.device,
    make_trainer: Callable[..., pl.Trainer],
    folder: Path,
) -> dict[str, object]:
    """Trains the prior as ``backbone.adapt`` says and writes it to ``<folder>/model`` or ``<folder>/lora``.

    ``model`` is a whole model in the diffusers layout, with a new network (and, from scratch, text encoder) in fp16;
    ``lora`` is an adapter in peft's layout.

    Raises:
        UserError: The family cannot be trained so, or files are missing.
    """
    settings, encoder = backbone.adapt, None
    backbone.check_adaptation()
    fresh = folder / f"{FRESH}-{rank()}"  # each rank has its own: none reads what another still writes
    if settings.mode == "scratch":
        backbone = replace(backbone, path=str(_fresh(backbone, prompt, index, fresh)))
    denoiser = backbone.load(device, torch.float32)
    wrapped: nn.Module | None = None
    if settings.mode == "lora":
        wrapped = add_lora(denoiser, settings.rank, settings.seed)
    else:
        denoiser.network.requires_grad_(True)
    if settings.mode == "scratch" and isinstance(backbone, TextBackboneConfig):
        encoder = CLIPText(backbone.source, torch.float32).to(device)
        encoder.requires_grad_(True)
    lessons = _lessons(backbone, prompt, index, device, embed=encoder is None)

    def save() -> None:
        if wrapped is not None:
            wrapped.save_pretrained(folder / LORA, safe_serialization=True)  # type: ignore[operator]
        else:
            _write_model(backbone, denoiser, encoder, folder / MODEL)

    facts = train_prior(denoiser, encoder, index, lessons, settings, backbone.image_size, make_trainer, folder, save)
    shutil.rmtree(fresh, ignore_errors=True)
    (folder / LAST).unlink(missing_ok=True)
    return {"mode": settings.mode, "parameters": sum(p.numel() for p in denoiser.network.parameters()), **facts}


def run(trial: Trial, folder: Path) -> Facts:
    """The backbone stage."""
    e, images = trial.experiment, index_of(trial).split("train")
    facts = adapt_backbone(e.backbone, e.prompt, images, e.trainer.device, e.trainer.parallel, folder)
    return {**facts, "digest": content(folder)} if rank() == 0 else facts


def _fresh(backbone: BackboneConfig, prompt: PromptConfig, index: Index, folder: Path) -> Path:
    """A folder with a small random model of the backbone's family."""
    settings = backbone.adapt
    shape = blueprint.Shape(backbone.image_size, settings.channels, settings.patch, settings.seed)
    if type(backbone) is ClassUNetConfig:
        blueprint.write_class_unet(folder, index.class_names, shape)
    else:
        texts = prompt.texts(index.class_names, index.class_folders)
        words = [text for mine in [*texts.positive, texts.reference or []] for text in mine]
        blueprint.write_text_unet(folder, words, shape)
    return folder


def _lessons(
    backbone: BackboneConfig, prompt: PromptConfig, index: Index, device: torch.device, embed: bool
) -> Lessons:
    """Conditions of the dataset's classes to train under; ``embed`` for a text encoder that stays as it is."""
    names, folders = index.class_names, index.class_folders
    if isinstance(backbone, ClassBackboneConfig):
        if prompt.mode == "none":
            return Lessons([[backbone.null_class()]] * len(names), [backbone.null_class()])
        indices, null = backbone.indices(names, folders)
        return Lessons([[k] for k in indices], [null])
    assert isinstance(backbone, TextBackboneConfig)
    texts = prompt.texts(names, folders)
    reference = texts.reference or [""]
    rows = list(dict.fromkeys(text for mine in [*texts.positive, reference] for text in mine))
    positive = [[rows.index(text) for text in mine] for mine in texts.positive]
    table = backbone.encode(rows, device)[0] if embed else {}
    return Lessons(positive, [rows.index(text) for text in reference], table, rows)


def _write_model(backbone: BackboneConfig, denoiser: Denoiser, encoder: CLIPText | None, folder: Path) -> None:
    """The source's files with the trained parts in place of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    new = {denoiser.part: denoiser.network, **({"text_encoder": encoder.model} if encoder is not None else {})}
    shutil.copytree(backbone.source.folder(), folder, ignore=shutil.ignore_patterns(*new))
    for part, module in new.items():
        module.half().save_pretrained(folder / part, safe_serialization=True, variant=backbone.variant or None)
        config = read_json(folder / part / "config.json")
        config.pop("_name_or_path", None)  # where this machine had it
        write_json(folder / part / "config.json", config)
