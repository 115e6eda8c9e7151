"""ResNetAP-10, on which hard-label results on ImageNet subsets are compared."""

import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.student.norm import instance_norm
from ddselect.student.pooled import PooledNetwork

SMALLEST = 16  # pixels; below, instance norm of the last stage has a single position


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
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
            _convolution(inputs, outputs, 3),
            instance_norm(outputs),
            nn.ReLU(),
            pool,
            _convolution(outputs, outputs, 3),
            instance_norm(outputs),
        )
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut = nn.Sequential(_convolution(inputs, outputs, 1), pool, instance_norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + self.shortcut(x))


class ResNetAP10(PooledNetwork):
    """A ResNet of one basic block per stage (widths 64 to 512) with average pooling for strides, and instance norm.

    Kim et al. (ICML 2022, IDC); Gu et al. (CVPR 2024, Minimax). The stem for their images of 224 pixels is a 7 x 7
    convolution of stride 1, norm, ReLU and 4 x 4 average pooling. Ours for smaller ones: from 65 to 128 pixels a 3 x 3
    convolution and 2 x 2 pooling, up to 64 a 3 x 3 convolution alone.

    Args:
        num_classes: Outputs.
        image_size: Side in pixels, which chooses the stem; None for that of large images.
    """

    def __init__(self, num_classes: int, image_size: int | None = None) -> None:
        super().__init__()
        kernel, pooled = (7, 4) if image_size is None or image_size > 128 else (3, 2) if image_size > 64 else (3, 1)
        self.stem = nn.Sequential(_convolution(3, 64, kernel), instance_norm(64), nn.ReLU(), nn.AvgPool2d(pooled))
        self.body = nn.Sequential(_Stage(64, 64), _Stage(64, 128), _Stage(128, 256), _Stage(256, 512))
        self.fc = nn.Linear(512, num_classes)
