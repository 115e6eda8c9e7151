"""The loop that a student is usually trained in: image folder, DataLoader, transforms for each image, live teacher."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.student.convnet import ConvNet
from ddselect.student.module import BETAS


class Plain(nn.Module):
    """A network as it is usually written: whole batches, torch's own pooling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if isinstance(network, ConvNet):
            blocks = (nn.Sequential(*block[:-1], nn.AvgPool2d(2)) for block in network.body)
            network.body = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) to logits (N, K)."""
        return self.network.forward_head(self.network.forward_features(images))


class Shuffle:
    """Permutes the 2 x 2 quarters of a picture."""

    def __call__(self, image: Image.Image) -> Image.Image:
        half = image.width // 2
        corners = [(x, y) for y in (0, half) for x in (0, half)]
        shuffled = image.copy()
        for place, k in zip(corners, torch.randperm(4).tolist(), strict=True):
            x, y = corners[k]
            shuffled.paste(image.crop((x, y, x + half, y + half)), place)
        return shuffled


def loader(folder: Path, protocol: ProtocolConfig, size: int, batch: int, workers: int) -> DataLoader:
    """Batches of an image folder, augmented image by image."""
    steps = [
        Shuffle(),
        transforms.RandomResizedCrop(size, scale=(0.25, 1.0), ratio=tuple(protocol.ratio)),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    data = ImageFolder(str(folder), transforms.Compose(steps))
    return DataLoader(data, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def cutmix(images: Tensor, random: np.random.Generator) -> Tensor:
    """Pastes a box of a permuted batch."""
    side, cut = images.shape[-1], np.sqrt(1 - random.beta(1.0, 1.0))
    half = int(side * cut) // 2
    x, y = random.integers(side, size=2)
    x0, x1, y0, y1 = max(x - half, 0), min(x + half, side), max(y - half, 0), min(y + half, side)
    mixed = images.clone()
    mixed[:, :, y0:y1, x0:x1] = images[torch.randperm(len(images))][:, :, y0:y1, x0:x1]
    return mixed


def train(
    student: Plain, teacher: Plain, batches: DataLoader, protocol: ProtocolConfig, seed: int, layout: str, bf16: bool
) -> None:
    """Trains a student in place for the protocol's epochs."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    memory = torch.channels_last if layout == "channels last" else torch.contiguous_format
    student.train().to(memory_format=memory)
    teacher.eval().to(memory_format=memory)
    parameters = list(student.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": protocol.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=protocol.learning_rate, betas=BETAS)
    total = protocol.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda e: protocol.rate(e * len(batches), total, len(batches))
    )
    for _ in range(protocol.epochs):
        for images in _images(batches, memory):
            mixed, temperature = cutmix(images, random), protocol.temperature
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                with torch.no_grad():
                    target = teacher(mixed)
                found = student(mixed)
            wanted, logits = F.softmax(target.float() / temperature, 1), F.log_softmax(found.float() / temperature, 1)
            loss = F.kl_div(logits, wanted, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def _images(batches: DataLoader, memory: torch.memory_format) -> Iterator[Tensor]:
    return (images.contiguous(memory_format=memory) for images, _ in batches)
