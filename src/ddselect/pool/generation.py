"""Images from the prior: keyed by class and number, in shards over all ranks, as class folders of PNGs."""

import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.prior import prior_of
from ddselect.backbone.sampling import sample
from ddselect.dataset.index import Index, index_of
from ddselect.pool.index import index_pool
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.conditions import Conditions, read_conditions
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.integrity import damage, mark
from ddselect.runtime.ranks import rank
from ddselect.runtime.seeds import key64, torch_generator
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.latents import KeptLatents, keep_latents, latent_shards
from ddselect.scoring.settings import ScoringConfig

SHARD = 100  # images that an interruption can cost at most
IMAGES, _LATENTS = "images", "latents"
Seed = tuple[Tensor, Tensor, int, int]  # noise, where to start (empty: nowhere), class, number in it


class _Seeds(Dataset[Seed]):
    """What each image is made of: those of a class one after another."""

    def __init__(
        self, pool: PoolConfig, folders: list[str], shape: tuple[int, int, int], prototypes: "Prototypes | None"
    ) -> None:
        self.pool, self.folders, self.shape, self.prototypes = pool, folders, shape, prototypes

    def __len__(self) -> int:
        return len(self.folders) * self.pool.per_class

    def __getitem__(self, row: int) -> Seed:
        label, number = divmod(row, self.pool.per_class)
        generator = torch_generator(self.pool.seed, "generated", self.folders[label], number)
        start = torch.empty(0) if self.prototypes is None else self.prototypes.of(label)[number]
        return torch.randn(self.shape, generator=generator), start, label, number


class Prototypes:
    """Centroids of the latents of each class (k-means), those of larger clusters first."""

    def __init__(self, index: Index, latents: KeptLatents, count: int, seed: int) -> None:
        self.labels, self.latents, self.count, self.seed = index.labels, latents.of(index), count, seed
        self.of = lru_cache(maxsize=2)(self._of)

    def _of(self, label: int) -> Tensor:
        """(count, C, h, w) float32; a class with fewer images repeats them."""
        from sklearn.cluster import KMeans  # a second to import

        rows = np.flatnonzero(self.labels == label)
        points = torch.stack([self.latents[int(row)][0].float() for row in rows])
        count = min(self.count, len(points))
        found = KMeans(count, n_init=1, random_state=key64(self.seed, "prototypes", label) % 2**32)
        found.fit(points.flatten(1).numpy())
        order = np.argsort(-np.bincount(found.labels_, minlength=count), kind="stable")
        centres = torch.from_numpy(found.cluster_centers_[order]).float()
        return centres[torch.arange(self.count) % count].view(self.count, *points.shape[1:])


class _Sampling(pl.LightningModule):
    """A predict step turns seeds into images."""

    def __init__(self, denoiser: Denoiser, conditions: Conditions, pool: PoolConfig, folders: list[str]) -> None:
        super().__init__()
        self.denoiser, self.conditions, self.pool, self.folders = denoiser, conditions, pool, folders

    def predict_step(
        self, batch: tuple[Tensor, Tensor, Tensor, Tensor], batch_idx: int = 0
    ) -> list[tuple[Tensor, str, int]]:
        """For each seed the image (3, S, S) uint8, its class folder and its number."""
        noise, start, labels, numbers = batch
        positive = torch.tensor(self.conditions.positive, device=self.device)[labels]
        latents = sample(
            self.denoiser, noise, positive, self.conditions.reference, self.pool.guidance, self.pool.steps,
            start if start.numel() else None, self.pool.strength if start.numel() else 1.0,
        )  # fmt: skip
        folders = [self.folders[label] for label in labels.tolist()]
        finite = latents.flatten(1).isfinite().all(1)
        if not finite.all():
            place = int((~finite).nonzero()[0])
            raise NumericalError(
                f"generated image {int(numbers[place])} of class '{folders[place]}' is not finite with backbone "
                f"{self.denoiser.title}; try a smaller pool.guidance, or {self.denoiser.remedy}"
            )
        images = self.denoiser.latents.decode(latents).cpu()
        return list(zip(images, folders, numbers.tolist(), strict=True))


def image_path(root: Path, folder: str, number: int) -> Path:
    """Where a generated image lies."""
    return root / folder / f"{number:05d}.png"


def generate(
    pool: PoolConfig,
    index: Index,
    denoiser: Denoiser,
    conditions: Conditions,
    view: int,
    make_trainer: MakeTrainer,
    folder: Path,
) -> Path:
    """Makes the images whose shards are missing: ``<folder>/images/<class folder>/<number>.png``.

    ``view`` is the side in pixels of the images; of the training images in the index the classes are taken, and what
    prototypes are made of.

    Raises:
        UserError: The view does not suit the backbone.
        NumericalError: An image is not finite.
    """
    shape = denoiser.latent_shape(view)
    denoiser.install(conditions.table)
    root, prototypes = (folder / IMAGES).absolute(), None
    seeds = len(index.class_folders) * pool.per_class
    plan = ShardPlan(folder, seeds, SHARD, ".json")
    for shard in {*range(len(plan))} - {*plan.missing()}:
        if damage(folder, read_json(plan.path(shard))):
            plan.path(shard).unlink(missing_ok=True)  # its images are made again
    if pool.kind == "prototypes" and plan.missing():
        settings = ScoringConfig(batch_size=pool.batch_size)
        keep_latents(index, denoiser, settings, view, make_trainer, folder / _LATENTS)
        kept = KeptLatents(index, latent_shards(folder / _LATENTS, len(index)))
        prototypes = Prototypes(index, kept, pool.per_class, pool.seed)

    def write(path: Path, rows: list[tuple[Tensor, str, int]]) -> None:
        marks = {}
        for image, class_folder, number in rows:
            file = image_path(root, class_folder, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, compress_level=1)
            marks[file.relative_to(folder.absolute()).as_posix()] = mark(file)
        write_json(path, marks)  # last: what it lists is there

    fill_shards(
        plan,
        lambda: _Sampling(denoiser, conditions, pool, index.class_folders),
        _Seeds(pool, index.class_folders, shape, prototypes),
        write,
        make_trainer,
        Loading(pool.batch_size, 0),
        "generated",
    )
    if rank() == 0:
        shutil.rmtree(folder / _LATENTS, ignore_errors=True)
    return root


def run(trial: Trial, folder: Path) -> Facts:
    """The pool stage."""
    e, backbone, images = trial.experiment, prior_of(trial), index_of(trial).split("train")
    denoiser = replace(backbone, compile=False).load(e.trainer.device)  # batches have several sizes
    conditions, view = read_conditions(trial.stages["prompt"].folder), backbone.image_size
    root = generate(e.pool, images, denoiser, conditions, view, e.trainer.parallel, folder)
    return index_pool(root, images, e.pool.kind == "mixed", view, folder) if rank() == 0 else {}
