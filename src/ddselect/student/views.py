"""What a student sees: every batch a pure function of the distilled set, the protocol, the seed and the step."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.rows import Rows
from ddselect.runtime.seeds import key64, torch_generator
from ddselect.student.augment import crop_resize, flip, one_patch, shuffle_patches
from ddselect.student.colour import jitter, lighting
from ddselect.student.mixing import Mix, cutmix, mixup
from ddselect.student.policies import dsa, randaugment

Batch = tuple[Tensor, Tensor, Tensor, int]


@dataclass(frozen=True)
class TrainingSet:
    """A distilled set to train on."""

    images: Rows  # (N, 3, S, S) uint8
    labels: Tensor  # (N,) int64, or (N, P) of P parts of equal area of each image
    stitched: Tensor  # (N,) bool, which images are stitched
    factor: int  # patches per side of a stitched image
    ipc: int | None  # images per class; None for the full data

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


class Views(Dataset[Batch]):
    """The batches of a training, of which any can be made again alone: that is what labels can be stored for.

    Attributes:
        data: The distilled set.
        protocol: The resolved protocol.
        seed: Seed of order and augmentation.
        batch_size: Images per step.
        images_per_pass: Images in one pass over the set, more than the set has where a batch is larger than it.
        per_pass: Steps in one pass over the set.
        total: Steps in all.
        period: Steps after which the same views come again; ``total`` where they never do.
    """

    def __init__(self, data: TrainingSet, protocol: ProtocolConfig, seed: int, repeats: int = 1) -> None:
        """Views that are all different, or those of one pass in ``repeats``, over and over."""
        self.data, self.protocol, self.seed, self.repeats = data, protocol, seed, repeats
        self.batch_size = protocol.batch(data.ipc, data.classes, len(data.labels))
        self.images_per_pass = protocol.images_per_pass(len(data.labels), self.batch_size)
        self.per_pass = protocol.steps_per_epoch(len(data.labels), self.batch_size)
        self.total = protocol.total_steps(len(data.labels), self.batch_size)
        passes = -(-self.total // (self.per_pass * repeats))
        self.period = min(self.total, passes * self.per_pass)
        self._order = (-1, torch.empty(0))  # of the latest pass

    def rows(self, step: int) -> Tensor:
        """(N,) int64 images of a step, as rows of the set: passes are keyed permutations."""
        number, place = divmod(step % self.period, self.per_pass)
        if number != self._order[0]:
            order = torch.randperm(self.images_per_pass, generator=torch_generator(self.seed, "order", number))
            self._order = number, order % len(self.data.labels)
        return self._order[1][place * self.batch_size : (place + 1) * self.batch_size]

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, step: int) -> Batch:
        return self.batch(step)

    def batch(self, step: int) -> Batch:
        """Images (N, 3, S, S) uint8, labels and whether stitched (N,) of a step.

        RandAugment, which works on bytes, is done here, all else by :meth:`mixed`.
        """
        rows = self.rows(step)
        images = self.data.images[rows]
        if self.protocol.augment == "randaugment":
            images = randaugment(images, key64(self.seed, "randaugment", step % self.period))
        return images, self.data.labels[rows], self.data.stitched[rows], step

    def mixed(self, images: Tensor, stitched: Tensor, step: int) -> Mix:
        """The images (N, 3, S, S) uint8 of a step, wherever they are, augmented and mixed."""
        protocol, generator = self.protocol, torch_generator(self.seed, "augment", step % self.period)
        views = images.float() / 255
        if protocol.shuffle:
            shuffled = shuffle_patches(views, self.data.factor, generator)
            views = torch.where(stitched.to(views.device)[:, None, None, None], shuffled, views)
        area = [protocol.area[0] or 1 / self.data.factor, protocol.area[1]]
        views = crop_resize(views, area, protocol.ratio, protocol.shift, generator)
        if protocol.flip:
            views = flip(views, generator)
        if protocol.jitter:
            views = jitter(views, protocol.jitter, generator)
        if protocol.lighting:
            views = lighting(views, protocol.lighting, generator)
        if protocol.augment == "dsa":
            views = dsa(one_patch(views, stitched, self.data.factor, generator), generator)
        if protocol.mixing == "none":
            return Mix(views, torch.arange(len(views), device=views.device), 1.0)
        return (cutmix if protocol.mixing == "cutmix" else mixup)(views, protocol.alpha, generator)
