"""The optimiser and the schedule of a protocol."""

import torch
from torch import nn

from ddselect.protocol.recipe import ProtocolConfig

BETAS = (0.9, 0.999)  # of every published protocol


def build_optimizer(model: nn.Module, protocol: ProtocolConfig) -> torch.optim.Optimizer:
    """The resolved protocol's optimiser; parameters of one dimension form a group of their own, which may not decay."""
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    matrices = [p for p in model.parameters() if p.ndim > 1]
    groups = [
        {"params": matrices, "weight_decay": protocol.weight_decay},
        {"params": vectors, "weight_decay": protocol.weight_decay if protocol.decay_vectors else 0.0},
    ]
    learning_rate = protocol.learning_rate
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=protocol.momentum, fused=True)
    kind = torch.optim.AdamW if protocol.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=learning_rate, betas=BETAS, fused=True)


def build_schedule(
    optimizer: torch.optim.Optimizer, protocol: ProtocolConfig, total: int, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The protocol's learning rate, set anew at every step."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: protocol.rate(step, total, steps_per_epoch))
