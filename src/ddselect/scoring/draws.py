"""Which timesteps and noises an image is judged at: a pure function of the seed and the image's content."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddselect.runtime.seeds import key64


@dataclass(frozen=True)
class Draws:
    """Stratified timesteps and keyed normal noise, the same for both conditions of a pair.

    Timesteps lie one in each of as many equal parts of the band as there are different noises, shifted by one offset
    per image. Noise comes from the counter-based Philox generator (Salmon et al. 2011), so that it does not depend on
    batch, order, process or what was computed before.
    """

    count: int  # draws per image
    antithetic: bool  # whether draws come in pairs (t, eps), (t, -eps)
    band: tuple[float, float]  # lowest and highest timestep as shares of the schedule
    seed: int  # seed of everything here

    def timesteps(self, hashes: list[str], steps: int) -> Tensor:
        """(draws, N) int64 timesteps in [0, steps) for images with these content hashes."""
        different = self.count // 2 if self.antithetic else self.count
        offsets = np.array([key64(self.seed, "offset", h) for h in hashes], dtype=np.float64) / 2**63
        position = (np.arange(different)[:, None] + offsets[None, :]) / different
        low, high = self.band
        values = ((low + (high - low) * position) * steps).astype(np.int64).clip(0, steps - 1)
        return torch.from_numpy(np.repeat(values, 2, axis=0) if self.antithetic else values)

    def noise(self, hashes: list[str], draw: int, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) float32 standard normal noise of one draw."""
        number, sign = (draw // 2, 1 - 2 * (draw % 2)) if self.antithetic else (draw, 1)
        return sign * torch.stack([self._normal(h, number, shape) for h in hashes])

    def _normal(self, image_hash: str, number: int, shape: tuple[int, ...]) -> Tensor:
        key = [key64(self.seed, "noise"), key64(image_hash)]
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
