"""Training curves."""

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ddselect.report.svg import Look, figure_axes, stand_in, svg_of
from ddselect.runtime.files import read_text
from ddselect.runtime.trial import Trial


@dataclass(frozen=True)
class Curve:
    """The tests of one selection's students during training."""

    name: str
    look: Look
    steps: np.ndarray  # (T,) steps at which all seeds were tested
    values: dict[str, np.ndarray]  # per quantity (``top1`` in percent, ``loss``) the values (seeds, T)


def read_curves(trained: list[Trial], looks: dict[str, Look]) -> list[Curve]:
    """Curves from the ``metrics.jsonl`` of all students."""
    histories: dict[str, list[dict[float, dict[str, float]]]] = defaultdict(list)
    for item in trained:
        lines = read_text(item.training.folder / "metrics.jsonl").splitlines()
        tests = [json.loads(line) for line in lines]
        histories[item.method.selection.name].append({test["step"]: test for test in tests})
    curves = []
    for name, seeds in histories.items():
        steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
        values = {key: np.array([[seed[step][key] for step in steps] for seed in seeds]) for key in ("top1", "loss")}
        curves.append(Curve(name, looks[name], np.array(steps), values))
    return curves


def draw_curves(curves: list[Curve], key: str, label: str, log: bool = False) -> Markup:
    """SVG of one quantity over steps: the mean over seeds, and each seed faintly.

    A logarithmic axis is taken only where all values are positive.
    """
    # matplotlib takes half a second to import: only a run that gets to its report pays for it.
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    with figure_axes(key) as axes:
        for number, curve in enumerate(curves):
            values = curve.values[key]
            for seed in values if len(values) > 1 else ():
                axes.plot(curve.steps, seed, color=stand_in(number), linewidth=0.8, alpha=0.35)
            axes.plot(curve.steps, values.mean(0), linewidth=2, marker="o", markersize=3, **curve.look.style(number))
        if log and all((curve.values[key] > 0).all() for curve in curves):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        return svg_of(axes, "step", label, [curve.look.colour for curve in curves], f"{label} over steps")
