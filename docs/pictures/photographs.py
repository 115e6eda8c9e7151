"""Pictures of real photographs: `python docs/pictures/photographs.py <CIFAR-10> [setting ...]`.

It writes `front.png` and `score.png` beside this file: difference maps with a distilled set, and a score in steps.
The settings are those of `python run.py`, e.g. `store=...` where a store has the scores of CIFAR-10 already.
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
from ddselect.backbone.choice import ClassUNetConfig
from ddselect.runtime.seeds import torch_generator

HERE = Path(__file__).parent
INK = "#7d8590"  # readable on white and on dark pages
SHOWN = ("horse", "ship", "automobile")  # of the picture of one score
DRAWS, BAND = 64, (0.1, 0.5)
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
    low, high = np.quantile(heat, (0.05, 0.99))
    heat = np.clip((heat - low) / (high - low), 0, 1)
    grey = picture(image).mean(-1, keepdims=True) / 255
    return np.clip(0.35 * grey + 0.65 * mpl.colormaps["inferno"](heat)[..., :3] * (0.55 + 0.45 * grey), 0, 1)


def front(run: ddselect.Run) -> Figure:
    """Of each class an image with its difference map, and all images of the distilled set."""
    distilled, scores = run.distilled(), run.scores()
    per_class = len(distilled.images) // len(run.images().class_names)
    best = [
        max(range(first, first + per_class), key=lambda row: distilled.metadata[row]["patches"][0]["score"])
        for first in range(0, len(distilled.images), per_class)
    ]
    ids = [distilled.metadata[row]["patches"][0]["source"] for row in best]
    known = [str(name) for name in scores.ids if str(name) in ids]
    maps = dict(zip(known, scores.maps(known).difference, strict=True))

    figure = plt.figure(figsize=(13.2, 6.1))
    left, right = figure.subfigures(1, 2, width_ratios=(5.05, 5.6), wspace=0.02)
    grid = left.subplots(
        4, 5, gridspec_kw={"left": 0, "right": 1, "top": 0.93, "bottom": 0, "wspace": 0.05, "hspace": 0.05}
    )
    for number, (row, name) in enumerate(zip(best, ids, strict=True)):
        above = 2 * (number // 5)
        show(grid[above, number % 5], picture(distilled.images[row]))
        show(grid[above + 1, number % 5], overlaid(distilled.images[row], maps[name]))
    left.text(0, 0.965, "where the label lowers the denoising loss", va="center")
    grid = right.subplots(
        per_class, 10, gridspec_kw={"left": 0.05, "right": 1, "top": 0.93, "bottom": 0, "wspace": 0.05, "hspace": 0.05}
    )
    for number, image in enumerate(distilled.images):
        show(grid[number % per_class, number // per_class], picture(image))
    right.text(0.05, 0.965, f"the distilled set: {per_class} real images of each class", va="center")
    return figure


@torch.inference_mode()
def score(run: ddselect.Run) -> Figure:
    """An image, a noisy version of it, its loss without and with the label, and the difference."""
    denoiser, distilled = ClassUNetConfig("cifar10", "cifar10", 32).load(torch.device("cpu")), run.distilled()
    names = list(run.images().class_names)
    labels = torch.tensor([names.index(name) for name in SHOWN])
    images = torch.stack([distilled.images[(distilled.labels == label).nonzero()[0, 0]] for label in labels])
    clean, losses = denoiser.encode(images), torch.zeros(2, len(images), 16, 16)
    for draw in range(DRAWS):
        noise = torch.randn(clean.shape, generator=torch_generator("picture", draw // 2)) * (1 - 2 * (draw % 2))
        share = BAND[0] + (BAND[1] - BAND[0]) * (draw // 2 + 0.5) / (DRAWS // 2)
        steps = torch.full((len(images),), int(share * len(denoiser.schedule)))
        for number, condition in enumerate((torch.full_like(labels, len(names)), labels)):
            losses[number] += denoiser.loss(clean, noise, steps, condition) / DRAWS
    kept = 0.75**0.5  # the share of the image in the noisy one that is drawn
    grain = torch.randn(images.shape, generator=torch_generator("picture", "shown"))
    noisy = (127.5 + 127.5 * (kept * (images / 127.5 - 1) + (1 - kept**2) ** 0.5 * grain)).clamp(0, 255).byte()

    figure, grid = plt.subplots(len(images), 5, figsize=(11, 2.2 * len(images) + 0.55))
    figure.subplots_adjust(left=0, right=1, top=0.905, bottom=0, wspace=0.05, hspace=0.05)
    titles = ("real image", "with noise", "loss without label", "loss with label", "difference")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=14, color=INK)
    for row, axes in enumerate(grid):
        high = float(losses[:, row].quantile(0.99))
        show(axes[0], picture(images[row]))
        show(axes[1], picture(noisy[row]))
        for number in (0, 1):
            show(axes[2 + number], losses[number, row].numpy(), cmap="viridis", vmin=0, vmax=high)
        show(axes[4], overlaid(images[row], losses[0, row] - losses[1, row]))
    return figure


def main() -> None:
    """The command."""
    folder, *settings = sys.argv[1:]
    run = ddselect.run("dataset=cifar10", f"dataset.root={folder}", "compare=[]", "stages=[composition]", *settings)
    for name, figure in (("front", front(run)), ("score", score(run))):
        figure.savefig(HERE / f"{name}.png", transparent=True)


if __name__ == "__main__":
    main()
