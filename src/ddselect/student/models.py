"""Classifiers: students and teachers share one wrapper with the normalisation inside."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import convolution_layout


class _Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.bn2(self.conv2(y)))


class SmallResNet(nn.Module):
    """A ResNet for 32-pixel images that trains in seconds on a CPU: 4 x 4 stem of stride 2 and three blocks."""

    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(_Block(width, width, 1), _Block(width, 2 * width, 2), _Block(2 * width, 4 * width, 2))
        self.fc = nn.Linear(4 * width, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, D, s, s)."""
        features: Tensor = self.body(self.stem(x))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, D, s, s) to logits (N, K), or to pooled features (N, D)."""
        pooled = x.mean((2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc


_SMALL = {"small_resnet16": 16, "small_resnet32": 32}


class Classifier(nn.Module):
    """A network with its input normalisation and, for a subset of its classes, their outputs.

    Attributes:
        network: A timm model, or one with the same ``forward_features`` / ``forward_head`` / ``get_classifier``.
        columns: Outputs that belong to the dataset's classes, in class order; None for all.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], columns: list[int] | None = None
    ) -> None:
        super().__init__()
        self.network, self.columns = network.to(memory_format=convolution_layout()), columns
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) float in [0, 1] to penultimate features (N, D)."""
        maps = self.network.forward_features((images - self.mean) / self.std)  # type: ignore[operator]
        pooled: Tensor = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return pooled

    def head(self, features: Tensor) -> Tensor:
        """Penultimate features (N, D) to logits (N, K)."""
        logits: Tensor = self.network.get_classifier()(features)  # type: ignore[operator]
        return logits if self.columns is None else logits[:, self.columns]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) float in [0, 1] to logits (N, K)."""
        return self.head(self.features(images))

    def pad_black(self, images: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        """Pads (left, right, top, bottom) with what is 0 after normalisation, as padding a normalised image does."""
        return F.pad(images - self.mean, padding) + self.mean


def build_network(architecture: str, num_classes: int, pretrained: bool = False) -> nn.Module:
    """A network by the field's name: ``small_resnet16``, ``small_resnet32``, or any timm model.

    Raises:
        UserError: The name is unknown, or the pretrained weights cannot be had.
    """
    if architecture in _SMALL:
        return SmallResNet(num_classes, _SMALL[architecture])
    import timm  # takes seconds, which only its own models need

    if not timm.is_model(architecture):
        close = ", ".join(timm.list_models(f"*{architecture[:6]}*")[:5])
        raise UserError(f"unknown architecture '{architecture}'{f'; did you mean one of {close}?' if close else ''}")
    try:
        return timm.create_model(architecture, pretrained=pretrained, num_classes=num_classes)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise UserError(
            f"pretrained weights of '{architecture}' are not in the local cache and the hub was not reached "
            f"({' '.join(str(error).split())[:120]}); fetch them on a connected machine, or set teacher=trained"
        ) from None
