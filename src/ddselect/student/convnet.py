"""ConvNet-D, the small network on which the dataset-distillation literature compares."""

from collections.abc import Callable

from torch import Tensor, nn

from ddselect.student.instance_block import norm_relu_pool, pays_at_once
from ddselect.student.norm import instance_norm


class _Block(nn.Sequential):
    """Convolution, norm, ReLU and average pooling; on a processor the last three at once where the norm allows it."""

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, *_ = self
        maps: Tensor = convolution(x)
        if isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels and pays_at_once(maps):
            return norm_relu_pool(maps, norm.weight, norm.bias, norm.eps)
        for layer in list(self)[1:]:
            maps = layer(maps)
        return maps


class ConvNet(nn.Module):
    """Equal blocks of 3 x 3 convolution, norm, ReLU and 2 x 2 average pooling, then one layer on all positions.

    Gidaris and Komodakis (CVPR 2018), with the norm and pooling of Zhao et al. (ICLR 2021): 320,010 parameters at
    depth 3 for 10 classes of 32-pixel images. Where a side is odd, pooling leaves its last row or column out.

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
            _Block(nn.Conv2d(inputs, width, 3, 1, 1), norm(width), nn.ReLU(), nn.AvgPool2d(2))
            for inputs in [3] + [width] * (depth - 1)
        ]
        self.body = nn.Sequential(*blocks)
        self.fc = nn.Linear(width * (image_size // 2**depth) ** 2, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, C, s, s) with s = S // 2^depth."""
        features: Tensor = self.body(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, C, s, s) to logits (N, K), or to features (N, C s s), which are not pooled further."""
        features = x.flatten(1)
        return features if pre_logits else self.fc(features)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc
