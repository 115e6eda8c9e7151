"""Pictures of difference maps and a distilled set: `python docs/pictures/photographs.py <CIFAR-10> [setting ...]`.

It writes `front.webp` and `score.webp` beside this file. The maps are of embedded scenes, the distilled set is of
CIFAR-10, for which settings count, such as `store=...` where a store has its scores already.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ddselect
from ddselect.runtime.seeds import torch_generator

HERE = Path(__file__).parent
INK = "#7d8590"  # readable on white and on dark pages
SCENES = ("dataset.sizes.train=400", "dataset.sizes.val=10", "dataset.sizes.test=10", "scoring.draws=16")
DRAWS, BAND, SHOWN = 64, (0.3, 0.65), (3, 5, 8)  # of the picture of one score, and the digits in it
mpl.rcParams |= {"font.family": "DejaVu Sans", "text.color": INK, "font.size": 13, "savefig.dpi": 110}


def show(axes: Axes, image: np.ndarray, **how: object) -> None:
    """An image without ticks, enlarged smoothly."""
    axes.imshow(image, interpolation="lanczos" if image.ndim == 3 else "bicubic", **how)
    axes.set_axis_off()


def picture(tensor: Tensor) -> np.ndarray:
    """(3, s, s) uint8 as matplotlib draws it."""
    return tensor.permute(1, 2, 0).numpy()


def overlaid(image: Tensor, difference: Tensor) -> np.ndarray:
    """A grey image in the colours of its difference map, (s, s, 3) in [0, 1]."""
    side = image.shape[-1]
    heat = torch.nn.functional.interpolate(difference[None, None], size=(side, side), mode="bicubic")[0, 0].numpy()
    low, high = np.quantile(heat, (0.5, 0.995))
    heat = np.clip((heat - low) / (high - low), 0, 1)
    grey = picture(image).mean(-1, keepdims=True) / 255
    return np.clip(0.35 * grey + 0.75 * mpl.colormaps["inferno"](heat)[..., :3], 0, 1)


def front(scenes: ddselect.Run, photographs: ddselect.Run) -> Figure:
    """A scene of each digit with its difference map, and all images of the distilled set."""
    index, scores, distilled = scenes.images(), scenes.scores(), photographs.distilled()
    maps = scores.maps().difference
    rows = [int(np.flatnonzero(scores.labels == label)[2]) for label in range(10)]
    figure = plt.figure(figsize=(13.4, 6.1))
    left, right = figure.subfigures(1, 2, width_ratios=(7.1, 6.2), wspace=0)
    between = {"top": 0.93, "bottom": 0, "wspace": 0.04, "hspace": 0.04}
    grid = left.subplots(4, 5, gridspec_kw={"left": 0, "right": 1, **between})
    for number, row in enumerate(rows):
        above = 2 * (number // 5)
        show(grid[above, number % 5], picture(index.read(row, 32)))
        show(grid[above + 1, number % 5], overlaid(index.read(row, 32), maps[row]))
    left.text(0, 0.965, "embedded scenes, and where the label lowers the denoising loss", va="center")
    per_class = len(distilled.images) // len(photographs.images().class_names)
    grid = right.subplots(per_class, 10, gridspec_kw={"left": 0.08, "right": 1, **between})
    for number, image in enumerate(distilled.images):
        show(grid[number % per_class, number // per_class], picture(image))
    right.text(0.08, 0.965, f"CIFAR-10 distilled to {per_class} real images of each class", va="center")
    return figure


@torch.inference_mode()
def score(scenes: ddselect.Run) -> Figure:
    """An image, a noisy version of it, its loss without and with the label, and the difference."""
    denoiser = scenes.experiment.backbone.load(torch.device("cpu"))
    index, labels = scenes.images(), torch.tensor(SHOWN)
    rows = [int(np.flatnonzero(index.labels == label)[4]) for label in SHOWN]
    images = torch.stack([index.read(row, 32) for row in rows])
    clean = denoiser.encode(images)
    total = torch.zeros(2, len(images), *clean.shape[2:])
    for draw in range(DRAWS):
        noise = torch.randn(clean.shape, generator=torch_generator("picture", draw // 2)) * (1 - 2 * (draw % 2))
        share = BAND[0] + (BAND[1] - BAND[0]) * (draw // 2 + 0.5) / (DRAWS // 2)
        steps = torch.full((len(images),), int(share * len(denoiser.schedule)))
        for number, condition in enumerate((torch.full_like(labels, len(index.class_names)), labels)):
            total[number] += denoiser.loss(clean, noise, steps, condition) / DRAWS
    kept = 0.7**0.5  # the share of the image in the noisy one that is drawn
    grain = torch.randn(images.shape, generator=torch_generator("picture", "shown"))
    noisy = (127.5 + 127.5 * (kept * (images / 127.5 - 1) + (1 - kept**2) ** 0.5 * grain)).clamp(0, 255).byte()

    figure, grid = plt.subplots(len(images), 5, figsize=(10, 6.4))
    figure.subplots_adjust(left=0, right=1, top=0.935, bottom=0, wspace=0.04, hspace=0.04)
    titles = ("image", "with noise", "loss without label", "loss with label", "difference")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=14, color=INK)
    for row, axes in enumerate(grid):
        high = float(total[:, row].quantile(0.995))
        show(axes[0], picture(images[row]))
        show(axes[1], picture(noisy[row]))
        for number in (0, 1):
            show(axes[2 + number], total[number, row].numpy(), cmap="viridis", vmin=0, vmax=high)
        show(axes[4], overlaid(images[row], total[0, row] - total[1, row]))
    return figure


def main() -> None:
    """The command."""
    folder, *settings = sys.argv[1:]
    scenes = ddselect.run(*SCENES, "compare=[]", "stages=[boxes]")
    real = ddselect.run("dataset=cifar10", f"dataset.root={folder}", "compare=[]", "stages=[composition]", *settings)
    for name, figure in (("score", score(scenes)), ("front", front(scenes, real))):
        figure.savefig(HERE / f"{name}.webp", transparent=True, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
