"""Randomness keyed by what it is for, never by what ran before."""

import hashlib

import numpy as np
import torch


def key64(*parts: object) -> int:
    """A stable 63-bit key of some values (their ``str``), the same on every machine and in every process."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def numpy_generator(*parts: object) -> np.random.Generator:
    """A NumPy generator for one purpose, e.g. ``numpy_generator(seed, "rded", class_index)``."""
    return np.random.default_rng(key64(*parts))


def torch_generator(*parts: object) -> torch.Generator:
    """A CPU torch generator for one purpose."""
    return torch.Generator().manual_seed(key64(*parts))
