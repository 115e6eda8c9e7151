"""Which timesteps and noises an image is judged at: a pure function of the seed and the image's content."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddselect.runtime.seeds import key64


@dataclass(frozen=True)
class Draws:
    """Timesteps and keyed normal noise, the same for both conditions of a pair.

    Stratified timesteps lie one in each of as many equal parts of the band as there are different noises, shifted by
    one offset per image; others are independent and uniform over the band. Noise and timesteps come from the
    counter-based Philox generator (Salmon et al. 2011), so they do not depend on batch, order, process or what was
    computed before.

    Attributes:
        count: Draws per image.
        antithetic: Whether draws come in pairs (t, eps), (t, -eps).
        stratified: Whether the timesteps of an image are spread evenly over the band.
        band: Lowest and highest timestep as shares of the schedule.
        shared: Whether all images see the same noises and timesteps.
        seed: Seed of everything here.
        weights: Relative weights of the draws in as many equal parts of the band.
    """

    count: int
    antithetic: bool
    stratified: bool
    band: tuple[float, float]
    shared: bool
    seed: int
    weights: tuple[float, ...] = (1.0,)

    def timesteps(self, hashes: list[str], steps: int) -> Tensor:
        """(draws, N) int64 timesteps in [0, steps) for images with these content hashes."""
        different = self.count // 2 if self.antithetic else self.count
        images = [""] * len(hashes) if self.shared else hashes
        if self.stratified:
            offsets = np.array([key64(self.seed, "offset", h) for h in images], dtype=np.float64) / 2**63
            position = (np.arange(different)[:, None] + offsets[None, :]) / different
        else:
            position = np.stack([self._generator("timesteps", h).random(different) for h in images], 1)
        low, high = self.band
        values = ((low + (high - low) * position) * steps).astype(np.int64).clip(0, steps - 1)
        return torch.from_numpy(np.repeat(values, 2, axis=0) if self.antithetic else values)

    def weights_at(self, timesteps: Tensor, steps: int) -> Tensor:
        """(draws, N) float32 weights of draws at some timesteps (draws, N); those of an image sum to 1."""
        low, high = (share * steps for share in self.band)
        part = ((timesteps - low) / (high - low) * len(self.weights)).long().clamp(0, len(self.weights) - 1)
        weights = torch.tensor(self.weights)[part]
        return weights / weights.sum(0)

    def noise(self, hashes: list[str], draw: int, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) float32 standard normal noise of one draw."""
        number, sign = (draw // 2, 1 - 2 * (draw % 2)) if self.antithetic else (draw, 1)
        if self.shared:
            return sign * self._normal("", number, shape).expand(len(hashes), *shape)
        return sign * torch.stack([self._normal(h, number, shape) for h in hashes])

    def _normal(self, image_hash: str, number: int, shape: tuple[int, ...]) -> Tensor:
        values = self._generator("noise", image_hash, number).standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(values)

    def _generator(self, purpose: str, image_hash: str, number: int = 0) -> np.random.Generator:
        key = [key64(self.seed, purpose), key64(image_hash)]
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))
