"""Instance norm, ReLU and 2 x 2 average pooling at once, for processors: what lies between them stays in the cache."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CACHED = 2**18  # values of a map that are worked on together
_of_relu = torch.ops.aten.threshold_backward  # torch.where takes twelve times as long here


def pays_at_once(maps: Tensor) -> bool:
    """Whether :func:`norm_relu_pool` takes maps (N, C, H, W), and is faster than its parts: on a processor."""
    even = maps.shape[-2] % 2 == maps.shape[-1] % 2 == 0
    return even and maps.device.type == "cpu" and maps.dtype in (torch.float32, torch.bfloat16)


def norm_relu_pool(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Maps (N, C, H, W) float32 or bfloat16, H and W even, to (N, C, H / 2, W / 2) of their type, channels last.

    Equal up to rounding to ``avg_pool2d(relu(group_norm(maps, C, weight, bias, eps)), 2)``, computed in float32;
    between forward and backward only the maps are kept.

    Args:
        maps: Outputs of a convolution.
        weight: (C,) scale of the norm.
        bias: (C,) shift of the norm.
        eps: Added to the variance.
    """
    found: Tensor = _NormReluPool.apply(maps, weight, bias, eps)
    return found


class _NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        count, channels, height, width = maps.shape
        last = maps.permute(0, 2, 3, 1).contiguous()
        means, scales = torch.empty(count, 1, 1, channels), torch.empty(count, 1, 1, channels)
        pooled = torch.empty(count, height // 2, width // 2, channels, dtype=maps.dtype)
        for rows in _shares(last):
            values = last[rows].float()
            mean = values.mean((1, 2), keepdim=True)
            centred = values - mean
            scale = (centred.square().mean((1, 2), keepdim=True) + eps).rsqrt()
            means[rows], scales[rows] = mean, scale
            active = centred.mul_(scale * weight).add_(bias).clamp_(min=0)
            pooled[rows] = _pairs(active[:, 0::2]).add_(_pairs(active[:, 1::2])).mul_(0.25)
        ctx.save_for_backward(last, means, scales, weight, bias)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        last, means, scales, weight, bias = ctx.saved_tensors
        _, height, width, channels = last.shape
        cells = (-1, height // 2, 2, width // 2, 2, channels)
        upper = gradient.permute(0, 2, 3, 1).float().mul(0.25)[:, :, None, :, None]
        of_maps = torch.empty_like(last)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for rows in _shares(last):
            normed = torch.addcmul(-means[rows] * scales[rows], last[rows].float(), scales[rows])
            active = torch.addcmul(bias, normed, weight).view(cells)
            spread = _of_relu(upper[rows].expand(active.shape), active, 0).reshape(normed.shape)
            total, aligned = spread.sum((1, 2), keepdim=True), (spread * normed).sum((1, 2), keepdim=True)
            of_bias += total.sum((0, 1, 2))
            of_weight += aligned.sum((0, 1, 2))
            slope = scales[rows] * weight
            share = -slope / (height * width)
            of_maps[rows] = torch.addcmul(share * total, normed, share * aligned).addcmul_(spread, slope)
        return of_maps.permute(0, 3, 1, 2), of_weight, of_bias, None


def _shares(last: Tensor) -> Iterator[slice]:
    """Slices of maps (N, H, W, C) that are worked on together."""
    size = max(1, _CACHED // last[0].numel())
    return (slice(start, start + size) for start in range(0, len(last), size))


def _pairs(rows: Tensor) -> Tensor:
    """Sums of neighbouring columns."""
    return rows[:, :, 0::2] + rows[:, :, 1::2]
