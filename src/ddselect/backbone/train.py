"""Trains the embedded prior from scratch: ``python -m ddselect.backbone.train``.

The result is a folder in the diffusers layout, which ``backbone=class_unet backbone.path=<folder>`` scores with. Every
value of :class:`PriorRecipe` can be set on the command line, e.g. ``steps=1000 out=/data/prior``.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset

from ddselect.backbone.schedule import COSINE, NoiseSchedule, stratified_timesteps
from ddselect.dataset.scenes import CLASS_NAMES, Scenes, SceneStyle, render
from ddselect.runtime.checkpoints import AtomicCheckpointIO


@dataclass
class PriorRecipe:
    """How the embedded prior is made.

    The corpus shows other scenes than the dataset does, drawn with the same training digits; test digits never.
    """

    out: str = "prior"  # folder to write
    steps: int = 4000  # optimiser steps
    batch_size: int = 64  # scenes per step (twice as many of the small ones)
    learning_rate: float = 2e-3  # AdamW, 100 steps of warm-up, linear decay over the last 40 %
    channels: list[int] = field(default_factory=lambda: [32, 64, 64])  # UNet widths per level
    patch: int = 2  # pixels per side that space-to-depth folds into channels
    label_dropout: float = 0.15  # share of labels replaced by the null class
    scenes_per_style: int = 20000  # for 0, 2 and 4 fragments each
    small_every: int = 4  # up to 80 % of the steps, every n-th batch shows single digits of 16 px
    steps_per_epoch: int = 500  # a checkpoint is written after each epoch; a run that finds one goes on from it
    seed: int = 0
    threads: int = 2


def class_unet(sample_size: int, latent_channels: int, channels: list[int], classes: int) -> UNet2DModel:
    """A class-conditional UNet with attention at its lowest level only; class index ``classes`` is the null class."""
    return UNet2DModel(
        sample_size=sample_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=1,
        block_out_channels=tuple(channels),
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        num_class_embeds=classes + 1,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=16,
    )


class _Curriculum(IterableDataset[tuple[Tensor, Tensor]]):
    """One epoch of (uint8 images, labels): cluttered scenes, and single digits between."""

    def __init__(self, full: Scenes, small: Scenes, recipe: PriorRecipe, epoch: int) -> None:
        self.full, self.small, self.recipe, self.epoch = full, small, recipe, epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + self.epoch)
        first = self.epoch * recipe.steps_per_epoch
        for step in range(first, min(first + recipe.steps_per_epoch, recipe.steps)):
            progress = step / recipe.steps
            is_small = step % recipe.small_every == 0 and progress < 0.8
            scenes, count = (self.small, 2 * recipe.batch_size) if is_small else (self.full, recipe.batch_size)
            picks = torch.randint(len(scenes.labels), (count,), generator=generator)
            yield scenes.images[picks], scenes.labels[picks]


class PriorModule(pl.LightningModule):
    """Class-conditional denoising training with label dropout and an exponential moving average of the weights."""

    def __init__(self, unet: UNet2DModel, schedule: NoiseSchedule, recipe: PriorRecipe, classes: int) -> None:
        super().__init__()
        self.unet, self.schedule, self.recipe, self.null_class = unet, schedule, recipe, classes

        def lerp(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
            decay = min(0.998, (1 + int(count)) / (20 + int(count)))
            torch._foreach_lerp_(averaged, current, 1 - decay)

        self.average = AveragedModel(unet, multi_avg_fn=lerp)  # type: ignore[arg-type]
        styles = [SceneStyle().with_fragments(k) for k in (0, 2, 4)]
        corpus = [render(recipe.scenes_per_style, 1000 + s.fragments, style=s) for s in styles]
        self.full = Scenes(
            torch.cat([s.images for s in corpus]),
            torch.cat([s.labels for s in corpus]),
            torch.cat([s.boxes for s in corpus]),
        )
        self.small = render(recipe.scenes_per_style // 2, 3000, style=SceneStyle(16, (12.0, 13.9), 0))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        torch.manual_seed(self.recipe.seed * 100_003 + self.current_epoch)  # a continued run repeats the same noise
        curriculum = _Curriculum(self.full, self.small, self.recipe, self.current_epoch)
        return DataLoader(curriculum, batch_size=None)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        latents = F.pixel_unshuffle(images.float() / 127.5 - 1, self.recipe.patch)
        labels = labels.masked_fill(torch.rand(len(labels)) < self.recipe.label_dropout, self.null_class)
        timesteps = stratified_timesteps(len(labels), len(self.schedule))
        noise = torch.randn_like(latents)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            prediction = self.unet(noisy, timesteps, class_labels=labels).sample
        # 1 / alpha_bar puts weight where the class shows; capped, since it diverges at the noisy end
        weight = (1 / self.schedule.alphas_cumprod[timesteps]).clamp(max=20)
        error = (prediction.float() - self.schedule.target(latents, noise, timesteps)).pow(2).mean((1, 2, 3))
        loss = (weight / weight.mean() * error).mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        self.average.update_parameters(self.unet)

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        optimizer = torch.optim.AdamW(self.unet.parameters(), lr=self.recipe.learning_rate, weight_decay=1e-3)

        def factor(step: int) -> float:
            remaining = max(0.0, 1 - step / self.recipe.steps)
            return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * min(1.0, remaining / 0.4))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train_prior(recipe: PriorRecipe) -> nn.Module:
    """Trains and writes a diffusers folder to ``recipe.out`` (fp16 safetensors); returns the averaged UNet."""
    torch.set_num_threads(recipe.threads)
    pl.seed_everything(recipe.seed)
    out = Path(recipe.out)
    latent_channels = 3 * recipe.patch**2
    unet = class_unet(SceneStyle().size // recipe.patch, latent_channels, recipe.channels, len(CLASS_NAMES))
    module = PriorModule(unet, NoiseSchedule(COSINE), recipe, len(CLASS_NAMES))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=recipe.steps,
        gradient_clip_val=1.0,
        logger=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=[
            ModelCheckpoint(out / "checkpoint", "last", save_on_train_epoch_end=True, enable_version_counter=False)
        ],
        reload_dataloaders_every_n_epochs=1,
    )
    last = out / "checkpoint" / "last.ckpt"
    trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    averaged: UNet2DModel = module.average.module
    averaged.half().save_pretrained(out / "unet", safe_serialization=True)
    DDPMScheduler.from_config(COSINE).save_pretrained(out / "scheduler")
    index = {"id2label": dict(enumerate(CLASS_NAMES)), "patch": recipe.patch}
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return averaged


if __name__ == "__main__":
    merged = OmegaConf.merge(OmegaConf.structured(PriorRecipe), OmegaConf.from_cli(sys.argv[1:]))
    train_prior(cast(PriorRecipe, OmegaConf.to_object(merged)))
