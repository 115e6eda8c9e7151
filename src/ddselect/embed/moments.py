"""What a candidate looks like, whatever it shows."""

import torch
from torch import Tensor


class Moments:
    """Mean and standard deviation of each channel, what style transfer matches (Huang & Belongie, ICCV 2017)."""

    def features(self, cuts: Tensor) -> Tensor:
        """Cuts (N, 3, S, S) float in [0, 1] to (N, 6): three means, three standard deviations."""
        deviation, mean = torch.std_mean(cuts, dim=(2, 3), correction=0)
        return torch.cat([mean, deviation], 1)
