"""The stages that ask the prior about images: latents, scoring, and for the pilot any scoring of some of them."""

from collections.abc import Callable
from pathlib import Path

from ddselect.backbone.prior import prior_of
from ddselect.dataset.index import Index, images_of
from ddselect.prompt.conditions import read_conditions
from ddselect.runtime.progress import note
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.candidates import candidates
from ddselect.scoring.latents import KeptLatents, keep_latents, latent_shards
from ddselect.scoring.module import score_images
from ddselect.scoring.settings import ScoringConfig


def candidates_of(trial: Trial) -> Index:
    """The images that are scored: at most ``scoring.cap`` of each class."""
    scoring, everything = trial.experiment.scoring, images_of(trial)
    images = candidates(everything, scoring.cap, scoring.seed)
    if len(images) < len(everything):
        note(f"  {len(images)} of {len(everything)} images, at most {scoring.cap} of each class (scoring.cap)")
    return images


def scorer_of(trial: Trial, images: Index) -> Callable[[Index, ScoringConfig, Path], dict[str, object]]:
    """Scores some of the candidates into a folder, from their latents if those are kept."""
    e, backbone, latents = trial.experiment, prior_of(trial), None
    denoiser, conditions = backbone.load(e.trainer.device), read_conditions(trial.stages["prompt"].folder)
    if "latents" in trial.stages:
        latents = KeptLatents(images, latent_shards(trial.stages["latents"].folder, len(images)))

    def score(some: Index, settings: ScoringConfig, folder: Path) -> dict[str, object]:
        view, make_trainer = backbone.image_size, e.trainer.parallel
        return score_images(some, denoiser, conditions, settings, view, make_trainer, folder, latents)

    return score


def keep(trial: Trial, folder: Path) -> Facts:
    """Encodes the candidates once for every later scoring with this prior."""
    e, backbone = trial.experiment, prior_of(trial)
    denoiser, view = backbone.load(e.trainer.device), backbone.image_size
    return keep_latents(candidates_of(trial), denoiser, e.scoring, view, e.trainer.parallel, folder)


def score(trial: Trial, folder: Path) -> Facts:
    """Writes the difference maps of the candidates."""
    images = candidates_of(trial)
    facts = scorer_of(trial, images)(images, trial.experiment.scoring, folder)
    each, left_out = facts["network_evaluations_per_image"], int(trial.images.facts["images"]["train"]) - len(images)
    return {**facts, "evaluations": len(images) * int(str(each)), "images_left_out": left_out}
