"""The prior as a classifier of some real images, before anything expensive is made with it (Li et al., ICCV 2023)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.prior import prior_of
from ddselect.dataset.index import index_of
from ddselect.prompt.conditions import read_conditions
from ddselect.runtime.errors import UserError
from ddselect.runtime.progress import counting
from ddselect.runtime.seeds import numpy_generator
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.draws import Draws

IMAGES, CLASSES, DRAWS = 200, 5, 4  # 4,000 network evaluations: a minute of Stable Diffusion on a GPU


def check_prior(trial: Trial, folder: Path) -> Facts:
    """How often, in percent, the loss under an image's own class is lowest among a few classes.

    The images are random test images, which no prior was adapted to; the other classes are random ones for each.

    Raises:
        UserError: It is near chance and ``scoring.check_prior`` is set.
    """
    e, backbone = trial.experiment, replace(prior_of(trial), compile=False)
    everything = index_of(trial).split("test")
    generator = numpy_generator(0, "prior check")
    images = everything.take(np.sort(generator.permutation(len(everything))[:IMAGES]))
    count, classes = len(images), min(CLASSES, trial.classes)
    others = [generator.permutation(np.delete(np.arange(trial.classes), own))[: classes - 1] for own in images.labels]
    asked = np.column_stack([images.labels, np.array(others, dtype=np.int64).reshape(count, -1)])
    conditions = read_conditions(trial.stages["prompt"].folder)
    denoiser = backbone.load(e.trainer.device)
    denoiser.install(conditions.table)
    numbers = torch.tensor(conditions.positive)[torch.from_numpy(asked)]
    low, high = e.scoring.band
    draws, hashes = Draws(DRAWS, True, (low, high), e.scoring.seed), images.table["hash"].to_pylist()
    step, correct = max(1, e.scoring.batch_size // classes), MeanMetric(sync_on_compute=False)
    with counting("prior check", count, "images") as counter:
        for start in range(0, count, step):
            rows = range(start, min(start + step, count))
            views = torch.stack([images.read(row, backbone.image_size) for row in rows]).to(denoiser.device)
            of_rows = slice(start, rows.stop)
            losses = losses_under(denoiser, denoiser.encode(views), hashes[of_rows], numbers[of_rows], draws)
            correct.update((losses[:, :1] < losses[:, 1:]).all(1))  # where all are equal, none is found
            counter.advance(len(rows))
    share, chance = float(correct.compute()), 1 / classes
    if e.scoring.check_prior and share < chance + 0.1 * (1 - chance):
        raise UserError(
            f"backbone {backbone.name} finds the class of {100 * share:.1f} % of {count} images among {classes} by its "
            f"losses, near chance ({100 * chance:.1f} %): its scores would say nothing about the classes; use a prior "
            "that knows them, adapt it longer (backbone.adapt.steps), look at its prompts (stages=[prompt]), or set "
            "scoring.check_prior=false"
        )
    return {"images": count, "classes": classes, "top1": round(100 * share, 4), "chance": 100 * chance}


@torch.inference_mode()
def losses_under(denoiser: Denoiser, latents: Tensor, hashes: list[str], conditions: Tensor, draws: Draws) -> Tensor:
    """(N, K) denoising losses of latents (N, C, h, w) under K conditions each (N, K), which see the same draws."""
    count, several = conditions.shape
    timesteps = draws.timesteps(hashes, len(denoiser.schedule)).to(latents.device)
    copies, flat = latents.repeat_interleave(several, 0), conditions.flatten().to(latents.device)
    total = torch.zeros(len(flat), device=latents.device)
    for draw in range(draws.count):
        noise = draws.noise(hashes, draw, tuple(latents.shape[1:])).to(latents.device).repeat_interleave(several, 0)
        total += denoiser.loss(copies, noise, timesteps[draw].repeat_interleave(several), flat).mean((1, 2))
    return total.view(count, several).cpu() / draws.count
