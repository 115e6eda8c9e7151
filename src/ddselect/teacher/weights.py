"""Weights from a file on this machine, checked against the network that they are meant for."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ddselect.runtime.errors import UserError

# where training scripts put weights beside other things; averaged ones first, with which results are reported
_WRAPPED = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "state_dict", "model_state_dict"),
    *("model_state", "model", "net_state_dict", "net", "network", "params_ema", "params", "weights", "module"),
)
_WRAPPERS = re.compile(r"(^|(?<=\.))(module|_orig_mod|_fsdp_wrapped_module)\.")  # of parallel and compiled modules
_COUNTS = "num_batches_tracked"  # absent from old files, and without effect in evaluation
_AVERAGED = "n_averaged"  # beside averaged weights
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # in what torch says of a name that it does not load


class _Ignored:
    """Stands for every object in a file that is no tensor: it does nothing, and keeps nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file of ``torch.save`` or safetensors, by the names that they have in their network.

    Nothing in it is executed, and what lies beside the weights is not looked at.

    Raises:
        UserError: There is no such file, it can not be read safely, or it holds no weights.
    """
    if not path.is_file():
        raise UserError(f"teacher.weights={path}: no such file")
    found = _weights_in(_load(path))
    if found is None:
        raise UserError(f"teacher.weights={path}: it holds no dictionary of tensors; save model.state_dict()")
    named = {_WRAPPERS.sub("", name): tensor for name, tensor in found.items() if name != _AVERAGED}
    while len({name.partition(".")[0] for name in named}) == 1 and all("." in name for name in named):
        # all of it is in one attribute of something that holds the network
        named = {name.partition(".")[2]: tensor for name, tensor in named.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in named.items()}


def _load(path: Path) -> Any:
    """What a file holds, with :class:`_Ignored` in place of what is no plain value or tensor."""
    wrong = "it is damaged, cut short, or neither of torch.save nor of safetensors"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with suppress(ValueError):  # of torch before 1.6, or of another kind
            return _load_tensors(path, get_unsafe_globals_in_checkpoint(path))
        return _load_tensors(path, [])
    except UnpicklingError as error:
        if "Unsupported operand" not in str(error):  # as in files that are no pickles
            named = _GLOBAL.search(str(error))
            wrong = f"it holds more than weights{f' ({named[1]})' if named else ''}, which is not unpickled"
    except Exception as error:  # a damaged file may raise any
        wrong = "it is a TorchScript archive" if "TorchScript" in str(error) else wrong
    raise UserError(f"teacher.weights={path}: {wrong}; save model.state_dict() with torch.save or safetensors")


def _load_tensors(path: Path, ignored: Sequence[str]) -> Any:
    with safe_globals([(_Ignored, name) for name in ignored]):
        return torch.load(path, "cpu", weights_only=True)


def _weights_in(found: Any) -> dict[str, Tensor] | None:
    """The tensors by name in a dictionary, or in what it wraps; None if there are none."""
    if not isinstance(found, Mapping):
        return None
    for key in _WRAPPED:
        if inner := _weights_in(found.get(key)):
            return inner
    is_plain = all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items())
    return dict(found) if found and is_plain else None


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
