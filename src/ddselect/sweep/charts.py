"""The figures of a sweep: settings over IPC, or over another number, in one chart for each panel."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from ddselect.report.svg import Look, figure_axes, looks, stand_in, svg_of
from ddselect.sweep.pooling import Panel, Pooled, Setting

if TYPE_CHECKING:  # imported when a figure is drawn
    from matplotlib.axes import Axes

_LOG = 8.0  # from this ratio of the largest place to the smallest the axis is logarithmic
MOST_CHARTS = 6
_MOST_LINES = 12  # more than a reader can tell apart


@dataclass(frozen=True)
class Line:
    """One selection, or one variant of it, over the axis.

    Attributes:
        level: The one setting of what has no place there as the axis makes no difference to it: the full data, or a
            rival that knows nothing of the key.
    """

    name: str
    look: Look
    points: list[tuple[float, Setting]]
    level: Setting | None


@dataclass(frozen=True)
class Chart:
    """The lines of one panel."""

    title: str  # what the panel has in common, in words; empty if there is only one
    axis: str
    places: list[float]
    lines: list[Line]  # the lines; the full data last

    @property
    def axis_label(self) -> str:
        """What the axis says."""
        return "images per class (IPC)" if self.axis == "ipc" else self.axis


def charts(pooled: Pooled) -> list[Chart]:
    """One chart for each panel, the first few; none where there are more lines than a reader can tell apart."""
    axis = _axis(pooled)
    panels: dict[Panel, list[Setting]] = defaultdict(list)
    for panel in pooled.panels:
        for setting in pooled.within(panel):
            key = tuple(pair for pair in panel if pair[0] != axis)
            if setting not in panels[key]:
                panels[key].append(setting)
    about = {panel: {key for key, _ in panel} | {axis} for panel in panels}
    named = {panel: _named(settings, pooled.columns, about[panel]) for panel, settings in panels.items()}
    references = {name for lines in named.values() for name, line in lines.items() if line[0].is_reference}
    names = list(dict.fromkeys(name for lines in named.values() for name in lines))
    if len(names) > _MOST_LINES:
        return []
    look = looks(names, references)
    found = []
    for panel, lines in list(named.items())[:MOST_CHARTS]:
        drawn = [_line(name, look[name], settings, axis) for name, settings in lines.items()]
        places = sorted({place for line in drawn for place, _ in line.points})
        drawn.sort(key=lambda line: line.name in references)
        found.append(Chart(", ".join(f"{key}={value}" for key, value in panel), axis, places, drawn))
    return found


def _axis(pooled: Pooled) -> str:
    """The key that curves run over: IPC, or where that is one number the first other one that varies."""
    numeric = [key for key in pooled.columns if _is_numeric(pooled.settings, key)]
    return next((key for key in ["ipc", *pooled.columns] if key in numeric), "ipc")


def _is_numeric(settings: Sequence[Setting], key: str) -> bool:
    values = [setting.labels[key] for setting in settings if key in setting.labels]
    try:
        return len({float(value) for value in values}) > 1
    except ValueError:
        return False


def _named(settings: Sequence[Setting], columns: Sequence[str], about: set[str]) -> dict[str, list[Setting]]:
    """Settings by the name of their line: the selection, and whatever of its keys vary."""
    found: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        own = [key for key in columns if key in setting.labels and key not in {*about, "selection", "ipc"}]
        variant = [f"{key.rpartition('.')[2]}={setting.labels[key]}" for key in own]
        found[" ".join([setting.selection, *variant])].append(setting)
    return found


def _line(name: str, look: Look, settings: Sequence[Setting], axis: str) -> Line:
    placed = [(float(setting.labels[axis]), setting) for setting in settings if axis in setting.labels]
    return Line(name, look, sorted(placed, key=lambda point: point[0]), None if placed else settings[0])


def draw_chart(chart: Chart) -> Markup | None:
    """SVG of top-1: curves over the axis, or where it has one place bars beside each other; None for a single bar.

    Shown are the mean over seeds, its standard deviation as a band or a whisker, and each seed as a dot.
    """
    lines = [(number, line) for number, line in enumerate(chart.lines) if line.points]
    if len(chart.places) * len(lines) < 2:
        return None
    words = []
    with figure_axes(chart.title, 3.4) as axes:
        for number, line in enumerate(chart.lines):
            points = [f"{setting.mean:.1f} at {place:g}" for place, setting in line.points]
            words.append(f"{line.name} {', '.join(points) if line.level is None else f'{line.level.mean:.1f}'}")
            if line.level:  # the same everywhere, the full data above all
                axes.axhline(line.level.mean, linewidth=1.8, **line.look.style(number))
                low, high = _spread(line.level)
                axes.axhspan(low, high, color=stand_in(number), alpha=0.12, linewidth=0)
            elif len(chart.places) > 1:
                _curve(axes, number, line)
        if len(chart.places) > 1:
            is_log = chart.places[0] > 0 and chart.places[-1] / chart.places[0] >= _LOG
            axes.set_xscale("log" if is_log else "linear")
            axes.set_xticks(chart.places, [f"{place:g}" for place in chart.places])
            axes.minorticks_off()
        else:
            for x, (number, line) in enumerate(lines):
                _bar(axes, x, number, line.points[0][1])
            axes.set_xticks(range(len(lines)), [line.name for _, line in lines], parse_math=False)
            axes.tick_params(axis="x", rotation=30 if len(lines) > 4 else 0)  # or names would overlap
            axes.set_ylim(bottom=0)
        about = f"Top-1 over {chart.axis_label}{f', {chart.title}' if chart.title else ''}"
        across = chart.axis_label if len(chart.places) > 1 else f"{chart.axis_label}: {chart.places[0]:g}"
        colours = [line.look.colour for line in chart.lines]
        return svg_of(axes, across, "top-1 on test images, %", colours, f"{about}. In percent: {'; '.join(words)}")


def _curve(axes: "Axes", number: int, line: Line) -> None:
    places, spreads = [place for place, _ in line.points], [_spread(setting) for _, setting in line.points]
    low, high = ([spread[end] for spread in spreads] for end in (0, 1))
    axes.fill_between(places, low, high, color=stand_in(number), alpha=0.15, linewidth=0)
    means = [setting.mean for _, setting in line.points]
    axes.plot(places, means, linewidth=2, marker="o", markersize=4, **line.look.style(number))
    for place, setting in line.points:
        dots = setting.top1 if len(setting.top1) > 1 else []
        axes.plot([place] * len(dots), dots, "o", color=stand_in(number), markersize=2.5, alpha=0.5)


def _bar(axes: "Axes", x: int, number: int, setting: Setting) -> None:
    bars = axes.bar(x, setting.mean, color=stand_in(number), alpha=0.5, linewidth=0)
    if setting.std is not None:
        axes.errorbar(x, setting.mean, setting.std, color=stand_in(number), capsize=2.5, linewidth=1.4)
        axes.plot([x] * len(setting.top1), setting.top1, "o", color=stand_in(number), markersize=2.5)
    axes.bar_label(bars, [f"{setting.mean:.1f}"], label_type="center")


def _spread(setting: Setting) -> tuple[float, float]:
    return setting.mean - (setting.std or 0.0), setting.mean + (setting.std or 0.0)
