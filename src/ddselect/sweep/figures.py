"""The figures of a sweep: accuracy over IPC as curves, and beside each other as bars."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ddselect.report.svg import INK, stand_in, svg_of, svg_settings
from ddselect.sweep.charts import Chart, Line
from ddselect.sweep.pooling import Setting

if TYPE_CHECKING:  # imported when a figure is drawn
    from matplotlib.axes import Axes

_LOG = 8.0  # from this ratio of the largest place to the smallest the axis is logarithmic
_WORDS = 16  # bars up to which each says its number


def draw_curves(chart: Chart) -> str:
    """SVG of top-1 over the axis: the mean over seeds, its standard deviation as a band, each seed as a dot."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(svg_settings(f"curves {chart.title}")):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        for number, line in enumerate(chart.lines):
            if line.level:
                _level(axes, number, line, line.level)
                continue
            places = [place for place, _ in line.points]
            means = [setting.mean for _, setting in line.points]
            spreads = [setting.std or 0.0 for _, setting in line.points]
            low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
            axes.fill_between(places, low, high, color=stand_in(number), alpha=0.15, linewidth=0)
            axes.plot(places, means, linewidth=2, marker="o", markersize=4, **_style(number, line))
            for place, setting in line.points:
                dots = setting.top1 if len(setting.top1) > 1 else []
                axes.plot([place] * len(dots), dots, "o", color=stand_in(number), markersize=2.5, alpha=0.5)
        if chart.places[0] > 0 and chart.places[-1] / chart.places[0] >= _LOG:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(chart.places, [f"{place:g}" for place in chart.places])
        _finish(axes, chart)
        return svg_of(figure, _colours(chart), _label(f"Top-1 over {chart.axis_label}", chart))


def draw_bars(chart: Chart) -> str:
    """SVG of top-1 as bars: a group for each place on the axis, the standard deviation as a whisker, seeds as dots."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    bars = [(number, line) for number, line in enumerate(chart.lines) if not line.level]
    width = 0.84 / len(bars)
    with rc_context(svg_settings(f"bars {chart.title}")):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        for position, (number, line) in enumerate(bars):
            for place, setting in line.points:
                x = chart.places.index(place) + (position - (len(bars) - 1) / 2) * width
                axes.bar(x, setting.mean, 0.92 * width, color=stand_in(number), alpha=0.5, linewidth=0)
                if setting.std is not None:
                    axes.errorbar(x, setting.mean, setting.std, color=stand_in(number), capsize=2.5, linewidth=1.4)
                    axes.plot([x] * len(setting.top1), setting.top1, "o", color=stand_in(number), markersize=2.5)
                if len(bars) * len(chart.places) <= _WORDS:
                    above = max(setting.mean + (setting.std or 0.0), *setting.top1, setting.mean)
                    axes.annotate(
                        f"{setting.mean:.1f}", (x, above), (0, 2), textcoords="offset points", ha="center", size=7
                    )
        for number, line in enumerate(chart.lines):
            if line.level:
                _level(axes, number, line, line.level)
        axes.set_xticks(range(len(chart.places)), [f"{place:g}" for place in chart.places])
        axes.set_ylim(bottom=0)
        _finish(axes, chart)
        return svg_of(figure, _colours(chart), _label(f"Top-1 of each selection by {chart.axis_label}", chart))


def _level(axes: "Axes", number: int, line: Line, setting: Setting) -> None:
    """What is the same everywhere, the full data above all, as a level line with its spread."""
    axes.axhline(setting.mean, linewidth=1.8, **_style(number, line))
    if setting.std:
        axes.axhspan(
            setting.mean - setting.std, setting.mean + setting.std, color=stand_in(number), alpha=0.12, linewidth=0
        )


def _style(number: int, line: Line) -> dict[str, Any]:
    return {"color": stand_in(number), "linestyle": (0, line.look.dash) if line.look.dash else "-"}


def _finish(axes: "Axes", chart: Chart) -> None:
    axes.set_xlabel(chart.axis_label)
    axes.set_ylabel("top-1 on test images, %")
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _colours(chart: Chart) -> Sequence[str]:
    return [line.look.colour for line in chart.lines]


def _label(what: str, chart: Chart) -> str:
    """What a screen reader says: the figure and its numbers in short."""
    words = []
    for line in chart.lines:
        points = [f"{setting.mean:.1f} at {place:g}" for place, setting in line.points]
        words.append(f"{line.name} {', '.join(points) if line.level is None else f'{line.level.mean:.1f}'}")
    return f"{what}{f', {chart.title}' if chart.title else ''}. In percent: {'; '.join(words)}"
