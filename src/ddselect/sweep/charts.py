"""What the figures of a sweep show: lines of settings over IPC, or over another number, in one chart for each panel."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ddselect.report.palette import Look, looks
from ddselect.sweep.pooling import Panel, Pooled, Setting

MOST_CHARTS = 6
_MOST_LINES = 12  # more than a reader can tell apart


@dataclass(frozen=True)
class Line:
    """One selection, or one variant of it, over the axis.

    Attributes:
        name: What to call it.
        look: How it is drawn.
        points: Settings by their place on the axis, in order.
        level: The one setting of what has no place there as the axis makes no difference to it: the full data, or a
            rival that knows nothing of the key.
    """

    name: str
    look: Look
    points: list[tuple[float, Setting]]
    level: Setting | None


@dataclass(frozen=True)
class Chart:
    """The lines of one panel.

    Attributes:
        title: What the panel has in common, in words; empty if there is only one.
        axis: Key of the axis.
        places: All places on it, in order.
        lines: The lines; the full data last.
    """

    title: str
    axis: str
    places: list[float]
    lines: list[Line]

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
