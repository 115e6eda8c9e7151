"""Means and standard deviations of channels."""

import numpy as np
import torch

from ddselect.embed.moments import channel_stats


def test_moments_are_means_and_deviations_of_the_channels() -> None:
    cuts = torch.rand(4, 3, 8, 6)
    found = channel_stats(cuts)
    for image, row in zip(cuts.numpy(), found.numpy(), strict=True):
        pixels = image.reshape(3, -1)
        np.testing.assert_allclose(row, [*pixels.mean(1), *pixels.std(1)], rtol=1e-5)
