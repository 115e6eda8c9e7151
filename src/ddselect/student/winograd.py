"""3 x 3 convolutions with four times fewer multiplications, for processors.

Winograd's minimal filtering F(4 x 4, 3 x 3), Lavin and Gray (CVPR 2016): a tile of 6 x 6 inputs and the kernel are
transformed, multiplied at 36 places, and transformed back to 4 x 4 outputs. Here all transforms are matrix products
too, and run image after image, so that what lies between them stays in the cache. The result is that of the direct
convolution up to rounding in fp32, with about ten times its error.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_OUT, _IN = 4, 6  # sides of a tile
_B = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
      [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
_G = [[1 / 4, 0.0, 0.0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
      [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0.0, 0.0, 1.0]]  # fmt: skip
_A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _both_ways(matrix: Sequence[Sequence[float]]) -> Tensor:
    """The transform of rows and columns as one matrix on flattened tiles."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one).float()


_INPUTS, _KERNEL, _OUTPUTS = _both_ways(_B), _both_ways(_G), _both_ways(_A)  # (36, 36), (36, 9), (16, 36)
_LEAST_CHANNELS, _LEAST_SIDE = 64, 8  # below, the transforms cost more than they save
_CACHED = 2**14  # values at each of the 36 places that are worked on together
_LEAST_TILES = 128  # tiles that are worked on together at least, so that the kernel is not read too often
_MOST_WASTE = 4 / 3  # how much larger than the images their tiles may be


class WinogradConv2d(nn.Conv2d):
    """A 3 x 3 convolution of stride 1 and padding 1 that goes Winograd's way where that is faster."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not is_plain(input) or not _pays(input.shape):
            return super()._conv_forward(input, weight, bias)
        found: Tensor = _Winograd.apply(input, weight)
        return found if bias is None else found + bias[:, None, None]


def is_plain(images: Tensor) -> bool:
    """Whether a tensor is worked on in fp32 by the processor."""
    return images.device.type == "cpu" and images.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def _pays(shape: torch.Size) -> bool:
    """Whether images (N, C, H, W) are large and many enough, and fill their tiles."""
    count, _, height, width = shape
    tiles = -(-height // _OUT) * -(-width // _OUT)
    fits = tiles * _OUT**2 <= _MOST_WASTE * height * width
    return min(height, width) >= _LEAST_SIDE and fits and count * tiles >= _LEAST_TILES


def use_winograd(network: nn.Module) -> nn.Module:
    """Lets the suitable convolutions of a network go Winograd's way, in place; its parameters stay what they are."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _is_suitable(layer):
            layer.__class__ = WinogradConv2d
    return network


def _is_suitable(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    wide = min(layer.in_channels, layer.out_channels) >= _LEAST_CHANNELS
    return wide and shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


class _Winograd(torch.autograd.Function):
    """Images (N, C, H, W) and weights (K, C, 3, 3) to (N, K, H, W), channels last."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return _convolve(images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        of_images, of_weight = ctx.needs_input_grad
        return (
            _convolve(gradient, weight.flip(2, 3).transpose(0, 1)) if of_images else None,
            _gradient_of_weight(images, gradient) if of_weight else None,
        )


def _convolve(images: Tensor, weight: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    kernel = (_KERNEL @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(_IN**2, channels, -1)
    found = torch.empty(count, height, width, len(weight))
    padded = _padded(images, _IN, 1)
    for rows in _shares(images, len(weight)):
        places = torch.bmm(_transformed(padded[rows]), kernel)
        _place(_OUTPUTS @ places.view(_IN**2, -1), found[rows])
    return found.permute(0, 3, 1, 2)


def _gradient_of_weight(images: Tensor, gradient: Tensor) -> Tensor:
    channels, outputs = images.shape[1], gradient.shape[1]
    total = torch.zeros(_IN**2, channels, outputs)
    padded, of_tiles = _padded(images, _IN, 1), _padded(gradient, _OUT, 0)
    for rows in _shares(images, outputs):
        places = (_OUTPUTS.T @ _cut(of_tiles[rows], _OUT)).view(_IN**2, -1, outputs)
        total.baddbmm_(_transformed(padded[rows]).transpose(1, 2), places)
    return (_KERNEL.T @ total.view(_IN**2, -1)).view(3, 3, channels, outputs).permute(3, 2, 0, 1)


def _shares(images: Tensor, outputs: int) -> list[slice]:
    """Slices of a batch that are worked on together."""
    count, channels, height, width = images.shape
    tiles = -(-height // _OUT) * -(-width // _OUT)
    size = max(1, max(_CACHED // max(channels, outputs), _LEAST_TILES) // tiles)
    return [slice(start, start + size) for start in range(0, count, size)]


def _transformed(padded: Tensor) -> Tensor:
    """Padded images (n, H, W, C) to what is multiplied: (36, tiles, C)."""
    return (_INPUTS @ _cut(padded, _IN)).view(_IN**2, -1, padded.shape[-1])


def _padded(images: Tensor, side: int, border: int) -> Tensor:
    """Images (n, C, H, W) with zeros around them that fill tiles of a side: (n, H', W', C)."""
    height, width = images.shape[-2:]
    bottom, right = (-(-length // _OUT) * _OUT - _OUT + side - border - length for length in (height, width))
    return F.pad(images.permute(0, 2, 3, 1), (0, 0, border, right, border, bottom)).contiguous()


def _cut(padded: Tensor, side: int) -> Tensor:
    """Tiles of padded images (n, H, W, C), four pixels apart: (side^2, tiles x C)."""
    count, height, width, channels = padded.shape
    image, row, column, _ = padded.stride()
    shape = (side, side, count, (height - side) // _OUT + 1, (width - side) // _OUT + 1, channels)
    steps = (row, column, image, row * _OUT, column * _OUT, 1)
    return padded.as_strided(shape, steps).reshape(side**2, -1)


def _place(tiles: Tensor, found: Tensor) -> None:
    """Puts tiles (16, tiles x K) into images (n, H, W, K), leaving out what lies beyond their end."""
    count, height, width, outputs = found.shape
    down, across = -(-height // _OUT), -(-width // _OUT)
    ordered = tiles.view(_OUT, _OUT, count, down, across, outputs).permute(2, 3, 0, 4, 1, 5)
    if (height, width) == (down * _OUT, across * _OUT):
        found.view(count, down, _OUT, across, _OUT, outputs).copy_(ordered)
        return
    found.copy_(ordered.reshape(count, down * _OUT, across * _OUT, outputs)[:, :height, :width])
