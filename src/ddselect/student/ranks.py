"""What ranks that train one student together share: the rows of a batch and the statistics of batch norm."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def part_of(count: int, rank: int, ranks: int) -> tuple[slice, float]:
    """The rows of a batch that a rank computes, and what its mean over them counts.

    The mean over the ranks of the rows' means, each times its factor, is the mean over the batch. A batch that has not
    two rows for each rank is computed whole by all: a network may refuse a single one.
    """
    if count < 2 * ranks:
        return slice(None), 1.0
    rows = slice(rank, None, ranks)
    return rows, len(range(count)[rows]) * ranks / count


def has_batch_norm(network: nn.Module) -> bool:
    """Whether what a network makes of an image in training depends on the others."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def share_batch_norm(network: nn.Module) -> None:
    """Gives a network batch norm over the images of all ranks, with the same parameters; on GPUs only.

    It is timm's conversion, not Lightning's, which would lose the activation in timm's norms.
    """
    if has_batch_norm(network):
        from timm.layers import convert_sync_batchnorm  # takes seconds, and is rarely needed

        convert_sync_batchnorm(network)
