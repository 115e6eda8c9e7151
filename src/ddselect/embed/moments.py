"""What a candidate looks like, whatever it shows."""

import torch
from torch import Tensor


def channel_stats(images: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, what style transfer matches (Huang & Belongie, ICCV 2017).

    Images (N, 3, S, S) float in [0, 1] to (N, 6): three means, three standard deviations.
    """
    deviation, mean = torch.std_mean(images, dim=(2, 3), correction=0)
    return torch.cat([mean, deviation], 1)
