"""The embed stage: features, teacher loss and channel statistics of every candidate, each image decoded once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.backbone.prior import prior_of
from ddselect.dataset.index import Index, images_of, index_of
from ddselect.embed.cuts import Boxes, CutBatch, Cuts, as_batch
from ddselect.embed.fields import fields_of_run, real_apart
from ddselect.embed.moments import channel_stats
from ddselect.embed.settings import EmbedConfig, Embedder, Prior
from ddselect.embed.table import KINDS, EmbedTable, embed_shards, write_rows
from ddselect.prompt.conditions import read_conditions
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.fill import Loading, MakeTrainer, fill_shards
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.candidates import scored_images
from ddselect.scoring.table import Crops, crops_of, read_scores
from ddselect.student.models import Classifier
from ddselect.teacher.card import load_teacher

_REAL = "real"  # folder of the real images' features where the candidates are not all of them


class EmbedModule(pl.LightningModule):
    """A predict step turns the cuts of some images into rows of the embed table."""

    def __init__(
        self,
        network: Embedder | None,
        teacher: Classifier | None,
        index: Index,
        kinds: tuple[str, ...],
        entropy: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.teacher, self.kinds, self.entropy = network, teacher, kinds, entropy
        self.ids, self.labels = index.ids, torch.from_numpy(index.labels)

    def predict_step(self, batch: CutBatch, batch_idx: int = 0) -> list[dict[str, Tensor]]:
        """For each image the fields of its crops (n, ...) and of the whole (1, ...), by ``<kind>.<field>``.

        The first groups of cuts are as they are composed, one for each kind, the last ones as the network sees them;
        where that is the same, these are those.

        Raises:
            NumericalError: A feature is not finite in float16, or a loss is not.
        """
        count, rows = len(self.kinds), [dict[str, Tensor]() for _ in batch.rows]
        for kind, composed, seen, counts in zip(
            self.kinds, batch.cuts[:count], batch.cuts[-count:], batch.counts[:count], strict=True
        ):
            images, owners = _shown(composed), torch.tensor(batch.rows).repeat_interleave(torch.tensor(counts))
            fields, features = {"channel_stats": channel_stats(images).half()}, None
            if self.network is not None:
                features = self.network.features(images if seen is composed else _shown(seen))
                fields["features"] = features.half()
            if self.teacher is not None:
                known = features if self.network is self.teacher else None
                logits = (self.teacher(images) if known is None else self.teacher.head(known))[: len(owners)]
                labels = self.labels[owners].to(logits.device)
                fields["loss"] = F.cross_entropy(logits.float(), labels, reduction="none")
                if self.entropy:
                    fields["entropy"] = torch.special.entr(logits.float().softmax(1)).sum(1)
            for name, found in fields.items():
                values = found[: len(owners)].cpu()
                finite = values.isfinite() if values.ndim == 1 else values.isfinite().all(1)
                if not finite.all():
                    owner = self.ids[int(owners[~finite][0])]
                    raise NumericalError(f"image {owner}: the {name} of its {kind} is not finite")
                for row, part in zip(rows, torch.split(values, counts), strict=True):
                    row[f"{kind}.{name}"] = part
        return rows


def _shown(cuts: Tensor) -> Tensor:
    """Cuts (N, 3, s, s) uint8 as floats in [0, 1]; a black one where there are none, which not every network takes."""
    return cuts.float() / 255 if len(cuts) else torch.zeros(1, *cuts.shape[1:], device=cuts.device)


def patch_side(crops: Crops, index: Index, view: int) -> int:
    """Side in pixels of the crops as they appear in a view of the images: the median."""
    side = float(np.median(index.sizes().min(1)))
    return max(1, round(float(np.median(crops.boxes[:, 2] - crops.boxes[:, 0])) * view / side))


def embed_images(
    index: Index,
    crops: Crops | None,
    network: Embedder | None,
    teacher: Classifier | None,
    settings: EmbedConfig,
    view: int,
    make_trainer: MakeTrainer,
    folder: Path,
    entropy: bool = False,
) -> dict[str, object]:
    """Embeds the images whose shards are missing: ``shard-*.safetensors``, see :mod:`ddselect.embed.table`.

    ``features`` are fp16, of ``network``; ``loss`` is the teacher's cross-entropy, float32, of the same forward pass
    where the network is the teacher; ``entropy``, if asked for, that of the teacher's prediction in nats, float32;
    ``channel_stats`` are fp16.

    Args:
        index: The images.
        crops: Their boxes, none for some of them; None for the whole images alone.
        network: What embeds them, in evaluation mode. None: there are no features.
        teacher: Whose losses are wanted, in evaluation mode; it sees crops and images at the sizes that they are
            composed at. None: there are none.
        settings: Sizes of batches, reading processes, and the size that the network sees.
        view: Side in pixels of the square view that is composed and trained on.
        make_trainer: Makes a trainer over all ranks with the given callbacks.
        folder: Where shards are, or will be.
        entropy: Whether the entropies of the teacher's predictions are wanted too.

    Raises:
        UserError: An image cannot be read.
        NumericalError: A value is not finite.
    """
    groups = [Boxes(np.arange(len(index) + 1), index.square_boxes(), view)]
    if crops is not None:
        groups.insert(0, Boxes(crops.starts, crops.boxes, patch_side(crops, index, view)))
    kinds = KINDS[-len(groups) :]
    seen = [Boxes(group.starts, group.boxes, settings.shown(group.size)) for group in groups]
    if any(one.size != other.size for one, other in zip(groups, seen, strict=True)):
        groups += seen
    fill_shards(
        embed_shards(folder, len(index)),
        lambda: EmbedModule(network, teacher, index, kinds, entropy),
        Cuts(index, groups),
        write_rows,
        make_trainer,
        Loading(settings.batch_size, settings.workers, as_batch),
        "embedding",
    )
    return {"images": len(index), "crops": len(crops.boxes) if crops is not None else 0}


def network_of(trial: Trial, teacher: Classifier | None) -> Embedder | None:
    """The network whose features a run embeds by; None where nothing reads features."""

    def load_prior() -> Prior:
        denoiser = replace(prior_of(trial), compile=False).load(e.trainer.device)  # batches have several sizes
        return denoiser, read_conditions(trial.stages["prompt"].folder)

    e, settings = trial.experiment, trial.experiment.embed
    if settings.by_teacher:
        return teacher
    network: Embedder | None = settings.network(load_prior) if "features" in fields_of_run(trial) else None
    return network


def run(trial: Trial, folder: Path) -> Facts:
    """The embed stage."""
    e, stages, view = trial.experiment, trial.stages, trial.view
    images, crops = images_of(trial), None
    for name in ("boxes", "teacher_crops"):
        if name in stages:
            table = read_scores(stages[name].folder)
            images, crops = scored_images(images, table), crops_of(table)
    teacher = load_teacher(stages["teacher"].folder) if "teacher" in stages else None
    make_trainer = e.trainer.single if "teacher_crops" in stages else e.trainer.parallel
    network = network_of(trial, teacher)
    if real_apart(trial):
        real = index_of(trial).split("train")
        embed_images(real, None, network, None, e.embed, view, make_trainer, folder / _REAL)
    entropy = "entropy" in fields_of_run(trial)
    return embed_images(images, crops, network, teacher, e.embed, view, make_trainer, folder, entropy)


def real_features(trial: Trial) -> EmbedTable:
    """The features of all training images that a finished embedding left."""
    embedding, index = trial.stages["embed"], trial.stages["index"]
    if (embedding.folder / _REAL).exists():
        return EmbedTable(embed_shards(embedding.folder / _REAL, index.facts["images"]["train"]))
    return EmbedTable(embed_shards(embedding.folder, embedding.facts["images"]))
