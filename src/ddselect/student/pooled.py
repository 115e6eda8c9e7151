"""The frame of our own residual networks: a stem, a body, the mean over positions, one linear layer."""

from torch import Tensor, nn


class PooledNetwork(nn.Module):
    """A classifier with the same three methods as timm's models; subclasses give its parts.

    Attributes:
        stem: (N, 3, S, S) to what the body takes.
        body: To maps (N, D, s, s).
        fc: Pooled features (N, D) to logits (N, K).
    """

    stem: nn.Module
    body: nn.Module
    fc: nn.Linear

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, D, s, s)."""
        features: Tensor = self.body(self.stem(x))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, D, s, s) to logits (N, K), or to pooled features (N, D)."""
        pooled = x.mean((2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc
