"""Reading images: a square view of a file, or a box of it, at the wanted size."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddselect.runtime.errors import UserError

Box = tuple[int, int, int, int]


def square_box(width: int, height: int) -> Box:
    """The largest centred square of an image: x0, y0, x1, y1 in its pixels."""
    side = min(width, height)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return x0, y0, x0 + side, y0 + side


def view_to_source(boxes: np.ndarray, width: int, height: int, view_size: int) -> np.ndarray:
    """Boxes (N, 4) in pixels of the square view to int32 pixels of the file."""
    x0, y0, x1, _ = square_box(width, height)
    scale = (x1 - x0) / view_size
    source = np.rint(boxes * scale + np.array([x0, y0, x0, y0])).astype(np.int32)
    source[:, 2:] = np.maximum(source[:, 2:], source[:, :2] + 1)  # a pixel at least, in tiny images too
    return source


def source_to_view(boxes: np.ndarray, width: int, height: int, view_size: int) -> np.ndarray:
    """Boxes (N, 4) in pixels of the file to float pixels of the square view."""
    x0, y0, x1, _ = square_box(width, height)
    return (boxes - np.array([x0, y0, x0, y0])) * (view_size / (x1 - x0))


def decode_image(path: Path) -> Image.Image:
    """The pixels of an image file of any mode as RGB: alpha is dropped, grey becomes RGB, 16 bits become 8.

    Raises:
        UserError: The file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return _eight_bits(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: unreadable image ({error}); repair or remove it, or set dataset.broken=skip"
        ) from None


def cut_image(image: Image.Image, box: Box | None, size: int) -> Tensor:
    """A square part of a decoded image, resized (bicubic, antialiased).

    Args:
        image: RGB image.
        box: x0, y0, x1, y1 in its pixels; the largest centred square if None.
        size: Side of the result in pixels.

    Returns:
        (3, size, size) uint8.
    """
    cut = image.crop(box or square_box(*image.size))  # first, or the filter would reach beyond the box
    resized = cut if cut.size == (size, size) else cut.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def read_image(path: Path, box: Box | None, size: int) -> Tensor:
    """A square part of an image file, (3, size, size) uint8: :func:`cut_image` of :func:`decode_image`."""
    return cut_image(decode_image(path), box, size)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, which ``convert`` would clip instead; other images as they are."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
