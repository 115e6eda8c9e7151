"""Several teachers as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddselect.student.models import Classifier, last_layer


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

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        return features


class _Joint(nn.Module):
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

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc
