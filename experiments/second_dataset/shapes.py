"""Draws the second dataset, dark shapes hidden on light textures, as class folders of PNG files.

    python experiments/second_dataset/shapes.py shapes
    python run.py dataset=imagefolder dataset.root=shapes dataset.test=test ...

A scene is a 32 x 32 RGB image with a light textured ground, fragments of other shapes and one whole shape, its class,
filled or as an outline. Each hand draws each shape in its own, bent way. The training scenes show other hands and
other textures than the test scenes. The box of the whole shape is known, so a localisation can be measured; it is
never given to a method.
"""

import sys
from collections.abc import Callable
from functools import cache
from math import cos, pi, sin
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.dataset.scenes import Scenes, tight_boxes, uniform, write_scenes

SIZES = {"train": 3000, "val": 1000, "test": 1500}
HANDS = {True: 60, False: 30}  # of the training scenes, and of the test scenes
TEXTURES = {True: 60, False: 40}
_GRID = 48  # cells per side of a drawn shape
_REACH = 1.6  # half of its width, where a shape reaches from -1 to 1 before it is bent
_LIMIT = 1.3  # as far as a bent one reaches
_SIZE = 32  # side of a scene in pixels
_WIDTH = (12.0, 15.5)  # smallest and largest of a shape in pixels, before its hand bends it
_FRAGMENTS = 4  # pieces of other shapes
_CHUNK = 2048


def _arc(start: float, end: float, points: int, radius: float = 1.0, x: float = 0.0) -> Tensor:
    """(points, 2) on an arc around (x, 0), angles in turns."""
    angle = torch.linspace(start, end, points) * 2 * pi
    return torch.stack([x + radius * torch.cos(angle), radius * torch.sin(angle)], 1)


def _star() -> Tensor:
    angle = torch.arange(10) * pi / 5 - pi / 2
    radius = torch.tensor([1.1, 0.45]).repeat(5)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1)


def _heart() -> Tensor:
    t = torch.linspace(0, 2 * pi, 29)[:-1]
    x = torch.sin(t) ** 3
    y = -(13 * torch.cos(t) - 5 * torch.cos(2 * t) - 2 * torch.cos(3 * t) - torch.cos(4 * t)) / 15
    return torch.stack([x, y - 0.1], 1)


def _polygon(*corners: tuple[float, float]) -> Callable[[], Tensor]:
    return lambda: torch.tensor(corners)


# closed polygons of (x, y) from -1 to 1, y downwards
_SHAPES: dict[str, Callable[[], Tensor]] = {
    "arrow": _polygon((-1, -0.3), (0, -0.3), (0, -0.9), (1.1, 0), (0, 0.9), (0, 0.3), (-1, 0.3)),
    "bolt": _polygon((0.3, -1.1), (-0.75, 0.2), (-0.1, 0.2), (-0.3, 1.1), (0.75, -0.25), (0.1, -0.25)),
    "circle": lambda: _arc(0, 1, 25)[:-1] * 0.95,
    "crescent": lambda: torch.cat([_arc(0.12, 0.88, 18, 1.0), _arc(0.80, 0.20, 12, 0.8, 0.45)]),
    "cross": _polygon(
        *((-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)),
        *((0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33)),
    ),
    "heart": _heart,
    "hourglass": _polygon((-0.85, -1), (0.85, -1), (0.15, 0), (0.85, 1), (-0.85, 1), (-0.15, 0)),
    "square": _polygon((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "star": _star,
    "triangle": _polygon((0, -1.05), (1.05, 0.85), (-1.05, 0.85)),
}
CLASS_NAMES = tuple(_SHAPES)


def signed_distance(polygon: Tensor, points: Tensor) -> Tensor:
    """Distance of points (..., 2) to a closed polygon (V, 2), negative inside: (...)."""
    start, end = polygon, polygon.roll(-1, 0)
    edge, to = end - start, points[..., None, :] - start
    along = ((to * edge).sum(-1) / edge.pow(2).sum(-1)).clamp(0, 1)
    distance = (to - along[..., None] * edge).norm(dim=-1).amin(-1)
    above = (start[:, 1] > points[..., 1:]) != (end[:, 1] > points[..., 1:])
    rise = torch.where(edge[:, 1] == 0, 1.0, edge[:, 1])
    crossings = above & (points[..., :1] < start[:, 0] + (points[..., 1:] - start[:, 1]) * edge[:, 0] / rise)
    return torch.where(crossings.sum(-1) % 2 == 1, -distance, distance)


@cache
def drawn_shapes(train: bool) -> Tensor:
    """(hands, 10, 48, 48) signed distances of each shape as each hand draws it, in half widths of the shape.

    A hand stretches, slants and bends the plane, for each shape otherwise. Those of the two splits are other ones.
    """
    generator, hands = torch.Generator().manual_seed(11 if train else 12), HANDS[train]
    ticks = torch.linspace(-_REACH, _REACH, _GRID)
    plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)
    count = len(CLASS_NAMES)
    bend = torch.randn(hands * count, 2, 5, 5, generator=generator) * 0.14
    bend = F.interpolate(bend, size=(_GRID, _GRID), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    stretch = uniform(generator, hands * count, 1, 1, low=0.88, high=1.14)
    slant = uniform(generator, hands * count, 1, 1, low=-0.15, high=0.15)
    moved = torch.stack([plane[..., 0] * stretch + plane[..., 1] * slant, plane[..., 1] / stretch], -1) + bend
    moved = moved.reshape(hands, count, _GRID, _GRID, 2)
    found = torch.stack([signed_distance(draw(), moved[:, i]) for i, draw in enumerate(_SHAPES.values())], 1)
    return torch.maximum(found, plane.abs().amax(-1) - _LIMIT)


@cache
def textures(train: bool) -> Tensor:
    """(textures, 64, 64) from -1 to 1: stripes, checks, blobs and grain in turn; other ones for the two splits."""
    generator, size = torch.Generator().manual_seed(21 if train else 22), 64
    ticks = torch.arange(size).float()
    rows, columns = torch.meshgrid(ticks, ticks, indexing="ij")
    found = []
    for i in range(TEXTURES[train]):
        turn, frequency, edge, fineness = uniform(generator, 4).tolist()
        across = cos(turn * pi) * columns + sin(turn * pi) * rows
        along = cos(turn * pi) * rows - sin(turn * pi) * columns
        wave, other = (torch.sin(v * (0.5 + 0.9 * frequency)) for v in (across, along))
        cells = 8 + int(fineness * 12)
        blobs = torch.randn(1, 1, cells, cells, generator=generator)
        blobs = F.interpolate(blobs, size=(size, size), mode="bicubic", align_corners=True)[0, 0]
        grain = torch.randn(size, size, generator=generator) * 0.6
        field = (wave * 1.4, wave * other * 1.8, blobs, blobs * 0.6 + grain)[i % 4] * (1 + 2 * edge)
        found.append(torch.tanh(field))
    return torch.stack(found)


def render(count: int, seed: int, split: str = "train") -> Scenes:
    """Draws balanced scenes; the same arguments give the same pixels.

    Args:
        count: Number of scenes.
        seed: Seed of everything random in them but the hands and textures, which are always the same.
        split: ``test`` draws with other hands and textures than ``train`` and ``val``.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % len(CLASS_NAMES))[torch.randperm(count, generator=generator)]
    parts = [_draw(chunk, split != "test", generator) for chunk in torch.split(labels, _CHUNK)]
    return Scenes(torch.cat([p[0] for p in parts]), labels, torch.cat([p[1] for p in parts]))


def _ground(count: int, train: bool, generator: torch.Generator) -> Tensor:
    """A light texture between two near colours, on a slope of brightness: (N, 3, S, S)."""
    bank = textures(train)
    windows = bank.unfold(1, _SIZE, 4).unfold(2, _SIZE, 4).flatten(0, 2)
    field = windows[torch.randint(len(windows), (count,), generator=generator)][:, None]
    base = uniform(generator, count, 3, 1, 1, low=0.62, high=0.9)
    contrast = uniform(generator, count, 3, 1, 1, low=-0.05, high=0.05)
    contrast = contrast + uniform(generator, count, 1, 1, 1, low=0.03, high=0.1)
    ticks = torch.linspace(-1, 1, _SIZE)
    angle = uniform(generator, count, 1, 1, 1, high=2 * pi)
    slope = torch.cos(angle) * ticks + torch.sin(angle) * ticks[:, None]
    return base + contrast * field + slope * uniform(generator, count, 1, 1, 1, high=0.08)


def _colour(count: int, generator: torch.Generator) -> Tensor:
    """A dark or strong colour: (N, 3, 1, 1)."""
    dark = uniform(generator, count, 1, 1, 1, low=0.05, high=0.4)
    return (dark + 0.4 * (uniform(generator, count, 3, 1, 1) - 0.4)).clamp(0, 1)


def _coverage(
    shapes: Tensor, centre: Tensor, width: Tensor, generator: torch.Generator, piece: Tensor | None = None
) -> Tensor:
    """Puts shapes (N, 48, 48) at centres (N, 2) in pixels, turned a little, filled or not: (N, 1, S, S) in [0, 1].

    Of a ``piece`` (N, 2), in half widths of the shape, only the square around it is left, which lies on the centre.
    """
    count, half = len(shapes), width / 2
    angle = uniform(generator, count, low=-0.5, high=0.5)
    ticks = torch.arange(_SIZE) + 0.5
    x, y = (ticks - centre[:, :1])[:, None, :], (ticks - centre[:, 1:])[:, :, None]
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    plane = torch.stack([c * x + s * y, c * y - s * x], -1) / half[:, None, None, None]
    offset = torch.zeros(count, 2) if piece is None else piece
    grid = (plane + offset[:, None, None]) / _REACH
    distance = F.grid_sample(shapes[:, None], grid, padding_mode="border", align_corners=True)
    stroke = uniform(generator, count, 1, 1, 1, low=2.0, high=3.0) / half[:, None, None, None]
    outlined = torch.rand(count, 1, 1, 1, generator=generator) < 0.4
    distance = torch.where(outlined, (distance + stroke / 2).abs() - stroke / 2, distance)
    if piece is not None:
        distance = torch.maximum(distance, plane.abs().amax(-1)[:, None] - 0.45)
    return (0.5 - distance * half[:, None, None, None]).clamp(0, 1)


def _pick(labels: Tensor, train: bool, generator: torch.Generator) -> Tensor:
    """The shapes of labels (N,), each by some hand: (N, 48, 48)."""
    bank = drawn_shapes(train)
    return bank[torch.randint(len(bank), (len(labels),), generator=generator), labels]


def _fragment(centre: Tensor, half: Tensor, train: bool, generator: torch.Generator) -> Tensor:
    """Coverage (N, 1, S, S) of a piece of some shape's border, placed clear of the whole one, or left out."""
    count = len(centre)
    shapes = _pick(torch.randint(len(CLASS_NAMES), (count,), generator=generator), train, generator)
    width = uniform(generator, count, low=_WIDTH[0], high=_WIDTH[1])
    tries = uniform(generator, count, 12, 2, low=3.0, high=_SIZE - 3.0)
    clear = (tries - centre[:, None]).abs().amax(-1) > (half + width / 4 + 1)[:, None]
    place = tries[torch.arange(count), clear.float().argmax(1)]
    angle = uniform(generator, count, high=2 * pi)
    piece = 0.65 * torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return _coverage(shapes, place, width, generator, piece) * clear.any(1)[:, None, None, None]


def _draw(labels: Tensor, train: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    count = len(labels)
    image = _ground(count, train, generator)
    width = uniform(generator, count, low=_WIDTH[0], high=_WIDTH[1])
    margin = (width / 2 + 1)[:, None]
    centre = margin + uniform(generator, count, 2) * (_SIZE - 2 * margin)
    for _ in range(_FRAGMENTS):
        coverage = _fragment(centre, width / 2, train, generator)
        image = torch.lerp(image, _colour(count, generator), coverage)
    coverage = _coverage(_pick(labels, train, generator), centre, width, generator)
    image = torch.lerp(image, _colour(count, generator), coverage)
    image = image + torch.randn(image.shape, generator=generator) * 0.02
    return (image.clamp(0, 1) * 255).round().to(torch.uint8), tight_boxes(coverage[:, 0] > 0.25)


if __name__ == "__main__":
    write_scenes(Path(sys.argv[1]), CLASS_NAMES, SIZES, 0, render)
