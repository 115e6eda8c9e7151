"""How a batch is parted, among ranks that train one student together or in halves, and what is shared then."""

from torch import Tensor, nn
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


def halves(images: Tensor) -> list[Tensor]:
    """The two halves of a batch (N, ...); the whole where one of them would be a single image."""
    return list(images.chunk(2)) if len(images) > 3 else [images]


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
