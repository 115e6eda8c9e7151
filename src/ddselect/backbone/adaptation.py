"""Fine-tuning a prior on the dataset's images with its prompts, or training a small one from scratch."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from ddselect.backbone.adapt import WEIGHT_DECAY, AdaptConfig
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.schedule import stratified_timesteps
from ddselect.backbone.text import CLIPText, clip_tokens
from ddselect.dataset.index import Index
from ddselect.runtime.checkpoints import fitting
from ddselect.runtime.errors import NumericalError, UserError
from ddselect.runtime.files import write_text
from ddselect.runtime.hardware import computes_in_bf16
from ddselect.runtime.ranks import rank
from ddselect.runtime.seeds import torch_generator

LOSSES = "losses.jsonl"
_IN_MEMORY = 2**30  # bytes of decoded images that are kept
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass
class Lessons:
    """What a prior is taught about the images of each class.

    Attributes:
        positive: For each dataset class, the conditions that an image of it is shown under, one at a time.
        table: Embeddings whose rows the conditions are, for a text-conditional prior.
    """

    positive: list[list[int]]
    reference: list[int]  # conditions that any image is shown under now and then
    table: dict[str, Tensor] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)  # the texts of the rows, where a text encoder is trained too


class _Steps(Dataset[Batch]):
    """The batch of each step, a function of its number and the seed alone.

    It is (images, conditions, timesteps, noise, weights of the losses). All ranks draw the same whole batch, and each
    keeps its own part.
    """

    def __init__(self, index: Index, denoiser: Denoiser, lessons: Lessons, settings: AdaptConfig, view: int) -> None:
        self.index, self.lessons, self.settings, self.view = index, lessons, settings, view
        self.shape, self.signal = denoiser.latent_shape(view), denoiser.schedule.signal.cpu()
        self.labels = index.labels
        self.kept = index.read_all(view) if len(index) * 3 * view**2 <= _IN_MEMORY else None
        self.part = slice(None)

    def __getitem__(self, step: int) -> Batch:
        generator, count = torch_generator(self.settings.seed, "adapt", step), self.settings.batch_size
        rows = torch.randint(len(self.index), (count,), generator=generator)[self.part].tolist()
        dropped = (torch.rand(count, generator=generator) < self.settings.dropout)[self.part].tolist()
        picks = torch.rand(count, generator=generator)[self.part].tolist()
        mirrored = (torch.rand(count, generator=generator) < 0.5)[self.part] & self.settings.flip
        timesteps = stratified_timesteps(count, len(self.signal), generator)
        weights, timesteps = self._weights(timesteps)[self.part], timesteps[self.part]
        noise = torch.randn(count, *self.shape, generator=generator)[self.part]
        if self.kept is None:
            images = torch.stack([self.index.read(row, self.view) for row in rows])
        else:
            images = self.kept[torch.tensor(rows)]
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        conditions = []
        for row, drop, pick in zip(rows, dropped, picks, strict=True):
            choice = self.lessons.reference if drop else self.lessons.positive[self.labels[row]]
            conditions.append(choice[int(pick * len(choice))])
        return images, torch.tensor(conditions), timesteps, noise, weights

    def _weights(self, timesteps: Tensor) -> Tensor:
        """Weights of a whole batch, 1 on average: where the class shows; capped, they diverge at the noisy end."""
        if not self.settings.weight_cap:
            return torch.ones(len(timesteps))
        weights = (1 / self.signal[timesteps].pow(2)).clamp(max=self.settings.weight_cap)
        return weights / weights.mean()


class AdaptModule(pl.LightningModule):
    """Denoising training with dropped conditions and an exponential moving average of the trained weights.

    A Lightning epoch is the stretch between two checkpoints, so that one is all that an interrupted training needs to
    go on exactly.
    """

    def __init__(self, denoiser: Denoiser, encoder: CLIPText | None, data: _Steps, settings: AdaptConfig) -> None:
        super().__init__()
        self.denoiser, self.encoder, self.data, self.settings = denoiser, encoder, data, settings
        self.strict_loading = False  # a checkpoint holds what is trained, not the frozen rest
        if encoder is not None:
            tokens = clip_tokens(encoder.tokenizers[0], data.lessons.texts)
            self.register_buffer("tokens", tokens, persistent=False)
        self.average = AveragedModel(self._trained(), multi_avg_fn=self._moving).requires_grad_(False)
        self.average.update_parameters(self._trained())  # the weights before the first step count too
        self.history: list[dict[str, float]] = []
        self._losses: list[Tensor] = []
        bf16 = settings.precision == "bf16" or (settings.precision == "auto" and computes_in_bf16())
        self._autocast = torch.bfloat16 if bf16 else None

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _trained(self) -> nn.ParameterList:
        return nn.ParameterList(self.trained().values())

    def _moving(self, averages: Any, parameters: Any, done: Tensor | int) -> None:
        """Less of the average is kept in the first steps, where it holds little but the beginning."""
        most = self.settings.average
        decay = min(most, (1 + int(done)) / (20 + int(done))) if most else 0.0
        get_ema_multi_avg_fn(decay)(averages, parameters, done)  # type: ignore[no-untyped-call]

    @property
    def done(self) -> int:
        """Steps behind the last checkpoint."""
        return int(self.history[-1]["step"]) if self.history else 0

    @property
    def epochs(self) -> int:
        """Epochs in all, those that are done included: they may have been of another length."""
        return len(self.history) + -(-(self.settings.steps - self.done) // self.settings.checkpoint_every)

    def train_dataloader(self) -> DataLoader[Batch]:
        self.data.part = slice(self.global_rank, None, self.trainer.world_size)
        steps = list(range(self.done, min(self.done + self.settings.checkpoint_every, self.settings.steps)))
        steps = steps or [0]  # none of it is taken where all are done, but Lightning would warn about an empty one
        workers = self.settings.workers if self.data.kept is None else 0
        return DataLoader(self.data, batch_size=None, sampler=steps, num_workers=workers)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, conditions, timesteps, noise, weights = batch
        denoiser, schedule = self.denoiser, self.denoiser.schedule
        with torch.no_grad():
            latents = denoiser.encode(images)
        noisy = schedule.add_noise(latents, noise, timesteps)
        with torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None):
            if self.encoder is not None:
                denoiser.install({"context": self.encoder.model(self.tokens).last_hidden_state})
            prediction = denoiser.call_network(noisy, schedule.time[timesteps], conditions)
        prediction = prediction[:, : denoiser.latent_channels].float()
        error = (prediction - schedule.target(latents, noise, timesteps)).pow(2).mean((1, 2, 3))
        # the ranks' gradients are averaged, also where the parts of the batch are not of one size
        share = len(error) * self.trainer.world_size / self.settings.batch_size
        loss = (weights * error).mean() * share
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        self.average.update_parameters(self._trained())

    def on_train_epoch_end(self) -> None:
        loss = float(self.trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean"))
        if not isfinite(loss):
            raise NumericalError(
                f"backbone {self.denoiser.title}: the loss is not finite before step {self.global_step}; lower "
                f"backbone.adapt.learning_rate{' or set backbone.adapt.precision=fp32' * (self._autocast is not None)}"
            )
        self.history.append({"step": float(self.global_step), "loss": loss})
        self._losses = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = self.trained()
        checkpoint["state_dict"] = {name: trained[name].detach() for name in trained}
        checkpoint["average"] = [average.detach() for average in self.average.parameters()]
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for average, kept in zip(self.average.parameters(), checkpoint["average"], strict=True):
            average.copy_(kept)
        self.average.n_averaged.fill_(checkpoint["global_step"] + 1)
        self.history = list(checkpoint["history"])
        self.trainer.fit_loop.max_epochs = self.epochs

    def take_average(self) -> None:
        """Puts the averaged weights in place of the last ones."""
        for parameter, average in zip(self.trained().values(), self.average.parameters(), strict=True):
            parameter.data.copy_(average)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        settings = self.settings
        parameters = list(self.trained().values())
        optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, settings.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_prior(
    denoiser: Denoiser,
    encoder: CLIPText | None,
    index: Index,
    lessons: Lessons,
    settings: AdaptConfig,
    view: int,
    make_trainer: Callable[..., pl.Trainer],
    folder: Path,
    save: Callable[[], None],
) -> dict[str, object]:
    """Trains what requires a gradient, going on from ``<folder>/last.ckpt`` if there is one, and leaves the average in.

    The prior is in float32; ``encoder`` is its text encoder, if that is trained too, and ``view`` the side in pixels of
    the square view. ``losses.jsonl`` gets step and mean loss since the last line. ``save`` writes the result: the first
    rank does, and the others wait for it.

    Raises:
        UserError: There are more ranks than images in a batch.
        NumericalError: The loss is not finite.
    """
    denoiser.install(lessons.table)
    module = AdaptModule(denoiser, encoder, _Steps(index, denoiser, lessons, settings, view), settings)

    def check(trainer: pl.Trainer) -> None:
        if settings.batch_size < trainer.world_size:
            raise UserError(
                f"backbone.adapt.batch_size={settings.batch_size}: {trainer.world_size} ranks need one image each"
            )

    # not max_steps, with which Lightning goes on in the middle of a finished epoch
    options: dict[str, Any] = {"max_epochs": module.epochs, "gradient_clip_val": 1.0}
    with fitting(module, f"adapting {denoiser.title}", settings.steps, make_trainer, check, folder, **options):
        module.take_average()
        if rank() == 0:
            write_text(folder / LOSSES, "".join(json.dumps(row) + "\n" for row in module.history))
            save()
    return {"steps": settings.steps, "images": len(index), "loss": module.history[-1]["loss"]}
