"""A teacher, or several as one, and its folder: ``teacher.safetensors`` with its weights, ``teacher.json``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddselect.runtime.files import read_json, write_json, write_tensors
from ddselect.student.models import Classifier, build_network, last_layer
from ddselect.student.networks import Network
from ddselect.teacher.torchvision_models import TorchvisionNetwork, is_torchvision, torchvision_model

WEIGHTS, CARD = "teacher.safetensors", "teacher.json"


@dataclass(frozen=True)
class Card:
    """How a network becomes a teacher.

    Attributes:
        image_size: Side in pixels of the images that the network was made for; None for the published form.
    """

    architecture: str  # its name; a tag of weights after a dot is only said
    outputs: int  # rows of its last layer
    mean: list[float]  # what is subtracted from each channel of images in [0, 1]
    std: list[float]  # what each channel is divided by then
    classes: list[str]  # the dataset's classes, in order
    columns: list[int] | None = None  # outputs that belong to them; None for all, in order
    image_size: int | None = None
    side: int | None = None  # side in pixels that images are resized to; None if the network takes them as they are

    def model(self, network: nn.Module) -> Classifier:
        """The teacher with a network of this kind."""
        model = Classifier(network, self.mean, self.std, self.columns)
        model.side = self.side or model.side
        return model


class JointTeacher(Classifier):
    """Its logits are the mean of its members' logits, its features are all of theirs, one after the other.

    The mean of logits, not of probabilities: it is softened once, at the temperature of the protocol, and it is what
    one linear layer on all features gives, so that features can be stored in place of logits. Each member sees the
    images in its own normalisation and size. ``mean`` and ``std`` are the average of theirs: what a student is given,
    and what black is padded for.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        mean, std = (torch.stack([getattr(member, name) for member in members]).mean(0) for name in ("mean", "std"))
        super().__init__(_Joint(members), mean.flatten().tolist(), std.flatten().tolist())
        self.members = list(members)

    def features(self, images: Tensor) -> Tensor:
        return self.network.forward_features(images)  # type: ignore[operator]


class _Joint(Network):
    """The members, with the layer that makes the mean of their logits of all their features."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        layers = [last_layer(member) for member in members]
        weight = torch.cat([weight for weight, _ in layers], 1) / len(members)
        self.fc = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.fc.weight.copy_(weight)
            self.fc.bias.copy_(torch.stack([bias for _, bias in layers]).mean(0))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [0, 1] to features (N, sum of D)."""
        return torch.cat([member.features(images) for member in self.members], 1)  # type: ignore[operator]


def write_teacher(folder: Path, network: nn.Module, card: Card) -> None:
    """Writes the weights of a network and its card."""
    write_tensors(folder / WEIGHTS, {f"network.{name}": tensor for name, tensor in network.state_dict().items()})
    write_json(folder / CARD, {field.name: getattr(card, field.name) for field in fields(card)})


def join_teachers(folder: Path, members: Sequence[Path]) -> None:
    """Writes the teachers of some folders as one: their weights under ``members.<number>.``, their cards as a list."""
    tensors: dict[str, Tensor] = {}
    for number, member in enumerate(members):
        tensors |= {f"members.{number}.{name}": tensor for name, tensor in load_file(member / WEIGHTS).items()}
    cards = [read_json(member / CARD) for member in members]
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CARD, {"classes": cards[0]["classes"], "members": cards})


def load_teacher(folder: Path) -> Classifier:
    """The teacher of a finished stage, frozen and in evaluation mode."""
    card, tensors = read_json(folder / CARD), load_file(folder / WEIGHTS)
    if "members" not in card:
        return _build(card, tensors).eval().requires_grad_(False)
    members = []
    for number, one in enumerate(card["members"]):
        prefix = f"members.{number}."
        mine = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        members.append(_build(one, mine))
    return JointTeacher(members).eval().requires_grad_(False)


def network_of(architecture: str, outputs: int, image_size: int | None) -> nn.Module:
    """An untrained network of timm, torchvision (``torchvision/<name>``) or our own; see :func:`build_network`."""
    name = architecture.split(".")[0]
    if is_torchvision(name):
        return TorchvisionNetwork(torchvision_model(name, outputs))
    return build_network(name, outputs, image_size)


def classifier_of(values: dict[str, Any]) -> Classifier:
    """The untrained teacher that a card describes."""
    card = Card(**values)
    return card.model(network_of(card.architecture, card.outputs, card.image_size))


def _build(values: dict[str, Any], tensors: dict[str, Tensor]) -> Classifier:
    model = classifier_of(values)
    model.load_state_dict({name: t.float() if torch.is_floating_point(t) else t for name, t in tensors.items()})
    return model
