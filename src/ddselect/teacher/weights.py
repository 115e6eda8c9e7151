"""Weights from a file on this machine, checked against the network that they are meant for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddselect.runtime.errors import UserError, sentence

_WRAPPED = ("state_dict", "model")  # where training scripts put weights beside other things
_PREFIXES = ("module.", "network.")  # of DataParallel; of the students and teachers here
_COUNTS = "num_batches_tracked"  # absent from old files, and without effect in evaluation


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a ``.safetensors``, ``.pth`` or ``.pt`` file by name; nothing in it is executed.

    Raises:
        UserError: There is no such file, it can not be read safely, or it holds no weights.
    """
    if not path.is_file():
        raise UserError(f"teacher.weights={path}: no such file")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UserError(f"teacher.weights={path}: a .safetensors, .pth or .pt file is needed")
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise any
        raise UserError(
            f"teacher.weights={path}: cannot be read as weights alone ({sentence(error)}); save model.state_dict()"
        ) from None
    for key in _WRAPPED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(t, Tensor) for t in found.values()):
        raise UserError(f"teacher.weights={path}: not a dictionary of tensors; save model.state_dict()")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


def misfit(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """The first place where weights do not fit a network, in words; empty if they fit."""
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            if not name.endswith(_COUNTS):
                return f"'{name}' is missing"
        elif weights[name].shape != tensor.shape:
            return f"'{name}' is {_shape(weights[name])}, not {_shape(tensor)}"
    return next((f"'{name}' is unknown" for name in weights if name not in own), "")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
