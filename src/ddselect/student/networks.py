"""What our own networks have in common, and the residual ones: ResNetAP-10, and one for small images on a CPU."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 16  # pixels; below, instance norm of ResNetAP-10's last stage has a single position


def instance_norm(channels: int, **place: Any) -> nn.GroupNorm:
    """Normalises each channel of each image over its positions, with a learned scale and shift.

    Written as group norm with one group per channel, as Zhao et al. (ICLR 2021, gradient matching) do. Where a map has
    one position only, nothing but the shift is left of it. timm hands over device and dtype.
    """
    return nn.GroupNorm(channels, channels, **place)


class Network(nn.Module):
    """A classifier with the same three methods as timm's models; subclasses give its parts."""

    body: nn.Module  # (N, 3, S, S) to maps (N, C, s, s) or features
    fc: nn.Linear  # features (N, D) to logits (N, K)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to what the body gives."""
        return self.body(x)

    def pool(self, x: Tensor) -> Tensor:
        """What the body gives to features (N, D)."""
        return x.flatten(1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What the body gives to logits (N, K), or to features (N, D)."""
        features = self.pool(x)
        return features if pre_logits else self.fc(features)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc


class _ResNet(Network):
    """A stem comes before the body, and features are the mean over positions."""

    stem: nn.Module

    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features(self.stem(x))

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


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


class SmallResNet(_ResNet):
    """A ResNet for 32-pixel images that trains in seconds on a CPU: 4 x 4 stem of stride 2 and three blocks."""

    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(_Block(width, width, 1), _Block(width, 2 * width, 2), _Block(2 * width, 4 * width, 2))
        self.fc = nn.Linear(4 * width, num_classes)


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the resolution, initialised as He et al. (2015) do."""
    layer = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class _Stage(nn.Module):
    """One basic block; where a ResNet's has a stride of 2, both of its ways are averaged over 2 x 2 positions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        pool: nn.Module = nn.AvgPool2d(2) if inputs != outputs else nn.Identity()
        self.block = nn.Sequential(
            convolution(inputs, outputs, 3),
            instance_norm(outputs),
            nn.ReLU(),
            pool,
            convolution(outputs, outputs, 3),
            instance_norm(outputs),
        )
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1), pool, instance_norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + self.shortcut(x))


class ResNetAP10(_ResNet):
    """A ResNet of one basic block per stage (widths 64 to 512) with average pooling for strides, and instance norm.

    Kim et al. (ICML 2022, IDC); Gu et al. (CVPR 2024, Minimax). The stem for their images of 224 pixels, or for no
    ``image_size`` in pixels, is a 7 x 7 convolution of stride 1, norm, ReLU and 4 x 4 average pooling. Ours for smaller
    ones: from 65 to 128 pixels a 3 x 3 convolution and 2 x 2 pooling, up to 64 a 3 x 3 convolution alone.
    """

    def __init__(self, num_classes: int, image_size: int | None = None) -> None:
        super().__init__()
        kernel, pooled = (7, 4) if image_size is None or image_size > 128 else (3, 2) if image_size > 64 else (3, 1)
        self.stem = nn.Sequential(convolution(3, 64, kernel), instance_norm(64), nn.ReLU(), nn.AvgPool2d(pooled))
        self.body = nn.Sequential(_Stage(64, 64), _Stage(64, 128), _Stage(128, 256), _Stage(256, 512))
        self.fc = nn.Linear(512, num_classes)
