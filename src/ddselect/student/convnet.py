"""ConvNet-D, the small network on which the dataset-distillation literature compares."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddselect.student.networks import Network, instance_norm
from ddselect.student.ranks import has_batch_norm

_CACHED = 2**21  # values of a block's maps that a processor works on together


class _Halving(nn.AvgPool2d):
    """Average pooling of 2 x 2; as sums of maps in plain layout on a processor, where torch's own is slow in bf16."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not input.is_contiguous():
            return super().forward(input)
        height, width = (side // 2 * 2 for side in input.shape[-2:])
        rows = input[..., :height:2, :] + input[..., 1:height:2, :]
        return (rows[..., :width:2] + rows[..., 1:width:2]) / 4


class _Body(nn.Sequential):
    """Blocks of a width; on a processor, images that do not depend on each other go through a few at a time.

    Maps of whole batches fit in no cache, and are so large that their memory is handed back and asked for again.
    """

    def __init__(self, width: int, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.width, self.together = width, has_batch_norm(self)

    def forward(self, input: Tensor) -> Tensor:
        few = max(1, _CACHED // (self.width * input[0, 0].numel()))
        if (self.together and self.training) or input.device.type != "cpu" or len(input) <= few:
            return self._through(input)
        return torch.cat([self._through(images) for images in torch.split(input, few)])

    def _through(self, maps: Tensor) -> Tensor:
        for block in self:
            maps = block(maps)
        return maps


class ConvNet(Network):
    """Equal blocks of 3 x 3 convolution, norm, ReLU and 2 x 2 average pooling, then one layer on all positions.

    Gidaris and Komodakis (CVPR 2018), with the norm and pooling of Zhao et al. (ICLR 2021): 320,010 parameters at
    depth 3 for 10 classes of 32-pixel images. Where a side is odd, pooling leaves its last row or column out. Features
    are all positions: (N, C s s) with s = S // 2^depth.

    Attributes:
        image_size: Side in pixels of the images that it is built for.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        depth: int,
        norm: Callable[[int], nn.Module] = instance_norm,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        blocks = [
            nn.Sequential(nn.Conv2d(inputs, width, 3, 1, 1), norm(width), nn.ReLU(), _Halving())
            for inputs in [3] + [width] * (depth - 1)
        ]
        self.body = _Body(width, *blocks)
        self.fc = nn.Linear(width * (image_size // 2**depth) ** 2, num_classes)
