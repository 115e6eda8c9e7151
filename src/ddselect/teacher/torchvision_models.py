"""torchvision's classifiers, with the three methods of timm's."""

from typing import Any

from torch import nn

from ddselect.runtime.errors import UserError, sentence
from ddselect.student.networks import Network

_PREFIX = "torchvision/"
_WITH_INPUT_OF_THEIR_OWN = ("googlenet", "inception_v3")  # pretrained ones normalise again, by a switch of theirs


class TorchvisionNetwork(Network):
    """A torchvision model whose last linear layer (``fc``) stands apart, so that what it is given can be had.

    Raises:
        UserError: The last layer is not linear.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        above, _, name = last_linear(model).rpartition(".")
        parent = model.get_submodule(above)
        self.body, self.fc = model, getattr(parent, name)
        setattr(parent, name, nn.Identity())


def is_torchvision(architecture: str) -> bool:
    """Whether a name is one of torchvision's: ``torchvision/<name>``."""
    return architecture.startswith(_PREFIX)


def torchvision_model(architecture: str, outputs: int) -> nn.Module:
    """An untrained torchvision model as torchvision has it.

    Raises:
        UserError: torchvision has no classifier of that name.
    """
    from torchvision.models import get_model  # seconds to import

    return get_model(_known(architecture), weights=None, num_classes=outputs)


def pretrained_torchvision(architecture: str) -> tuple[nn.Module, list[float], list[float]]:
    """A model with weights of torchvision's enum, taken apart, and the mean and std of these weights' own transforms.

    Args:
        architecture: ``torchvision/<name>.<WEIGHTS>``, e.g. ``torchvision/resnet50.IMAGENET1K_V2``; without the weights
            those that torchvision takes by default.

    Raises:
        UserError: The name or the weights are unknown, or the weights can not be had.
    """
    from torchvision import models

    weights = check_weights(architecture)
    try:
        model: nn.Module = models.get_model(_known(architecture), weights=weights)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"pretrained weights of '{architecture}' are not in the local cache and {weights.url} was not reached "
            f"({sentence(error)}); fetch them on a connected machine, or set teacher.weights=<file>"
        ) from None
    seen = weights.transforms()
    return TorchvisionNetwork(model), list(seen.mean), list(seen.std)


def check_weights(architecture: str) -> Any:
    """The entry of torchvision's enum that ``torchvision/<name>.<WEIGHTS>`` names; fetches nothing.

    Raises:
        UserError: The name or the weights are unknown.
    """
    from torchvision import models

    name = _known(architecture)
    enum = models.get_model_weights(name)
    tag = architecture.partition(".")[2] or "DEFAULT"
    if tag not in enum.__members__:
        raise UserError(f"torchvision has no weights '{tag}' of '{name}'; choose from {', '.join(enum.__members__)}")
    return enum[tag]


def last_linear(model: nn.Module) -> str:
    """Name of the last layer of a model; a ``UserError`` if it is not linear."""
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers or not isinstance(layers[-1][1], nn.Linear):
        raise UserError(f"{type(model).__name__} of torchvision has no linear last layer; choose another architecture")
    return layers[-1][0]


def _known(architecture: str) -> str:
    """Name in torchvision of an architecture; a ``UserError`` if it has no classifier of that name."""
    from torchvision import models

    name = architecture.removeprefix(_PREFIX).split(".")[0]
    known = [name for name in models.list_models(models) if name not in _WITH_INPUT_OF_THEIR_OWN]  # classifiers only
    if name not in known:
        close = [other for other in known if other.startswith(name[:5])][:5]
        hint = f"; did you mean one of {', '.join(close)}?" if close else ""
        raise UserError(f"unknown architecture '{architecture}'{hint}")
    return name
