"""The embedded dataset: handwritten digits hidden in cluttered colour scenes, drawn and written as class folders.

A scene is a 32 x 32 RGB image with a dark textured background, fragments of other digits and one whole digit, its
class. The handwriting is scikit-learn's ``load_digits`` (UCI Optical Recognition of Handwritten Digits, 8 x 8). The
box of the whole digit is known, so a localisation can be measured; it is never given to a method.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi
from pathlib import Path

import pyarrow as pa
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ddselect.runtime.files import write_table

BOXES = "true_boxes.parquet"
CLASS_NAMES = tuple("0123456789")
TRAIN_DIGITS = 1300  # file order follows writers: the last 497 digits are other hands
_SIZE = 32  # side of a scene in pixels
_WIDTH = (13.0, 16.0)  # smallest and largest of a digit's 8 x 8 grid, in scene pixels
_FRAGMENTS = 4  # 4 x 4 pieces of other digits
_CHUNK = 2048
_SEEDS = {"train": 1, "val": 3, "test": 2}


@dataclass(frozen=True)
class Scenes:
    """A batch of rendered scenes."""

    images: Tensor  # (N, 3, S, S) uint8
    labels: Tensor  # (N,) int64, 0 to 9, the same number of each (up to one)
    boxes: Tensor  # (N, 4) int64, tight box of the whole digit as x0, y0, x1, y1 in pixels, end exclusive


def digits(split: str) -> tuple[Tensor, Tensor]:
    """The handwriting to draw with: (N, 8, 8) float32 in [0, 1] and (N,) int64 labels.

    ``val`` draws with those of ``train``, ``test`` with those of other writers.
    """
    from sklearn.datasets import load_digits  # a second to import

    bunch, part = load_digits(), slice(TRAIN_DIGITS, None) if split == "test" else slice(TRAIN_DIGITS)
    ink = torch.tensor(bunch.images[part] / 16.0, dtype=torch.float32)
    return ink, torch.tensor(bunch.target[part], dtype=torch.int64)


def render(count: int, seed: int, split: str = "train", fragments: int = _FRAGMENTS) -> Scenes:
    """Draws balanced scenes; the same arguments give the same pixels.

    The digits are those of a split, see :func:`digits`; ``fragments`` is the number of pieces of other digits.
    """
    ink, ink_labels = digits(split)
    by_class = [torch.where(ink_labels == c)[0] for c in range(10)]
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % 10)[torch.randperm(count, generator=generator)]
    parts = []
    for chunk in torch.split(labels, _CHUNK):
        picks = [by_class[c][torch.randint(len(by_class[c]), (1,), generator=generator)] for c in chunk.tolist()]
        parts.append(_draw(ink, torch.cat(picks), fragments, generator))
    return Scenes(torch.cat([p[0] for p in parts]), labels, torch.cat([p[1] for p in parts]))


def uniform(generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Random numbers from ``low`` to ``high``, of the given shape."""
    return torch.rand(*shape, generator=generator) * (high - low) + low


def _background(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A dark colour, a smooth texture and a wave: (N, 3, S, S), and the colour alone (N, 3, 1, 1)."""
    base = uniform(generator, count, 3, 1, 1, low=0.05, high=0.45)
    texture = torch.randn(count, 3, 5, 5, generator=generator)
    texture = F.interpolate(texture, size=(_SIZE, _SIZE), mode="bicubic", align_corners=True) * 0.06
    rows, columns = torch.meshgrid(torch.arange(_SIZE).float(), torch.arange(_SIZE).float(), indexing="ij")
    angle = uniform(generator, count, 1, 1, high=pi)
    frequency = uniform(generator, count, 1, 1, low=0.25, high=1.0)
    phase = uniform(generator, count, 1, 1, high=2 * pi)
    wave = torch.sin((columns * torch.cos(angle) + rows * torch.sin(angle)) * frequency + phase)
    strength = uniform(generator, count, 3, 1, 1, low=-0.06, high=0.06)
    return base + texture + wave[:, None] * strength, base


def _ink_colour(base: Tensor, generator: torch.Generator) -> Tensor:
    """A colour brighter than the background: (N, 3, 1, 1)."""
    tint = uniform(generator, *base.shape) - 0.5
    return (base + uniform(generator, len(base), 1, 1, 1, low=0.35, high=0.55) + 0.3 * tint).clamp(0, 1)


def _place(ink: Tensor, x: Tensor, y: Tensor, width: Tensor, shear: float, generator: torch.Generator) -> Tensor:
    """Puts (N, 8, 8) ink, rotated a little, at centre (x, y) with the given width: coverage (N, 1, S, S) in [0, 1]."""
    angle = uniform(generator, len(ink), low=-0.2, high=0.2)
    slant = uniform(generator, len(ink), low=-shear, high=shear) if shear else torch.zeros(len(ink))
    padded = F.pad(ink[:, None], (1, 1, 1, 1))
    extent = width * 10 / 8 / _SIZE
    rows = [
        torch.stack([torch.cos(angle), torch.sin(angle) + slant], -1),
        torch.stack([-torch.sin(angle), torch.cos(angle)], -1),
    ]
    matrix = torch.stack(rows, 1) / extent[:, None, None]
    centre = torch.stack([2 * x / _SIZE - 1, 2 * y / _SIZE - 1], -1)
    theta = torch.cat([matrix, -(matrix @ centre[..., None])], -1)
    grid = F.affine_grid(theta, [len(ink), 1, _SIZE, _SIZE], align_corners=False)
    return F.grid_sample(padded, grid, mode="bicubic", padding_mode="zeros", align_corners=False).clamp(0, 1)


def _fragment(ink: Tensor, digit_x: Tensor, digit_y: Tensor, clearance: Tensor, generator: torch.Generator) -> Tensor:
    """Coverage (N, 1, S, S) of a 4 x 4 piece of some digit, placed clear of the whole one, or left out."""
    count = len(digit_x)
    pieces = ink[torch.randint(len(ink), (count,), generator=generator)]
    left = torch.randint(1, 4, (count, 1), generator=generator)
    top = torch.randint(1, 4, (count, 1), generator=generator)
    cells = torch.arange(8)[None]
    in_columns, in_rows = (cells >= left) & (cells < left + 4), (cells >= top) & (cells < top + 4)
    pieces = pieces * in_rows[:, :, None] * in_columns[:, None, :]
    width = uniform(generator, count, low=_WIDTH[0], high=_WIDTH[1])
    tries = uniform(generator, count, 12, 2, low=4.0, high=_SIZE - 4.0)
    distance = (tries - torch.stack([digit_x, digit_y], -1)[:, None]).abs().amax(-1)
    clear = distance > (clearance + width / 4 + 1)[:, None]
    centre = tries[torch.arange(count), clear.float().argmax(1)]
    # the grid is shifted so that the middle of the piece, not of the grid, lies on the chosen centre
    x = centre[:, 0] - (left[:, 0] - 2) * width / 8
    y = centre[:, 1] - (top[:, 0] - 2) * width / 8
    coverage = _place(pieces, x, y, width, 0.0, generator)
    return coverage * clear.any(1)[:, None, None, None]


def _draw(ink: Tensor, picks: Tensor, fragments: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    count = len(picks)
    image, base = _background(count, generator)
    width = uniform(generator, count, low=_WIDTH[0], high=_WIDTH[1])
    half = width / 2
    x = half + 1 + uniform(generator, count) * (_SIZE - 2 * half - 2)
    y = half + 1 + uniform(generator, count) * (_SIZE - 2 * half - 2)
    for _ in range(fragments):
        coverage = _fragment(ink, x, y, half, generator)
        image = image * (1 - coverage) + coverage * _ink_colour(base, generator)
    coverage = _place(ink[picks], x, y, width, 0.15, generator)
    image = image * (1 - coverage) + coverage * _ink_colour(base, generator)
    image = image + torch.randn(image.shape, generator=generator) * 0.02
    return (image.clamp(0, 1) * 255).round().to(torch.uint8), tight_boxes(coverage[:, 0] > 0.25)


def tight_boxes(mask: Tensor) -> Tensor:
    """(N, S, S) bool to (N, 4) boxes x0, y0, x1, y1 around the set pixels."""
    size = mask.shape[-1]
    columns, rows = mask.any(1).float(), mask.any(2).float()
    x0, x1 = columns.argmax(1), size - columns.flip(1).argmax(1)
    y0, y1 = rows.argmax(1), size - rows.flip(1).argmax(1)
    return torch.stack([x0, y0, x1, y1], 1)


def write_scenes(
    root: Path,
    classes: Sequence[str],
    sizes: dict[str, int],
    seed: int,
    draw: Callable[[int, int, str], Scenes],
) -> None:
    """Writes ``<root>/<split>/<class>/<number>.png`` and ``<root>/true_boxes.parquet`` (path, x0, y0, x1, y1).

    The boxes are for measuring a localisation only. ``draw`` draws (count, seed, split) scenes; classes are in the
    order of their labels.
    """
    paths, boxes = [], []
    for split, size in sizes.items():
        for name in classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        scenes = draw(size, _SEEDS[split] + 1000 * seed, split)
        for number, (image, label, box) in enumerate(zip(scenes.images, scenes.labels, scenes.boxes, strict=True)):
            path = f"{split}/{classes[label]}/{number:05d}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / path, compress_level=1)
            paths.append(path)
            boxes.append(box.tolist())
    columns = {name: [box[i] for box in boxes] for i, name in enumerate(("x0", "y0", "x1", "y1"))}
    write_table(root / BOXES, pa.table({"path": paths, **columns}))
