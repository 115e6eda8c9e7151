"""Instance norm, the norm of the dataset-distillation literature."""

from typing import Any

from torch import nn


def instance_norm(channels: int, **place: Any) -> nn.GroupNorm:
    """Normalises each channel of each image over its positions, with a learned scale and shift.

    Written as group norm with one group per channel, as Zhao et al. (ICLR 2021, gradient matching) do. Where a map has
    one position only, nothing but the shift is left of it.

    Args:
        channels: Number of channels.
        place: Device and dtype, which timm hands over.
    """
    return nn.GroupNorm(channels, channels, **place)
