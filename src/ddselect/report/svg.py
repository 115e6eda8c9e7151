"""Figures as SVG that takes its colours and its font from the page, and how selections look in every one of them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:  # matplotlib takes half a second to import: only a run that gets to its report pays for it
    from matplotlib.axes import Axes

COLOURS = 6  # --arm-0 ... in style.css: Okabe and Ito's colour-blind-safe palette, tuned for either theme
_DASHES: tuple[tuple[int, ...], ...] = ((), (6, 2), (2, 2), (8, 2, 2, 2), (4, 1, 1, 1), (10, 3))
_INK = "#fd0000"  # stand-ins that matplotlib can draw with, replaced by the page's colours in the finished SVG


@dataclass(frozen=True)
class Look:
    """How a selection is drawn."""

    colour: str  # a CSS colour that follows the page's theme
    dash: tuple[int, ...]  # lengths of dashes and gaps in points; empty for a solid line

    def style(self, number: int) -> dict[str, Any]:
        """Matplotlib's options for a line of this look, the figure's so many-th."""
        return {"color": stand_in(number), "linestyle": (0, self.dash) if self.dash else "-"}


REFERENCE = Look("var(--reference)", (1, 2))


def looks(names: Sequence[str], references: set[str]) -> dict[str, Look]:
    """The look of each selection, in order; after the last colour they come round again with other dashes."""
    rivals = [name for name in names if name not in references]
    shift = [(i % COLOURS, (i + i // COLOURS) % len(_DASHES)) for i in range(len(rivals))]
    found = {name: Look(f"var(--arm-{c})", _DASHES[d]) for name, (c, d) in zip(rivals, shift, strict=True)}
    return {name: found.get(name, REFERENCE) for name in names}


def stand_in(number: int) -> str:
    """What to draw with in place of a figure's colour of this number."""
    return f"#fe{number:04x}"


@contextmanager
def figure_axes(salt: str, height: float = 3.2) -> Iterator["Axes"]:
    """The axes of a new figure, so many inches high, which a word tells from others on the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ink = dict.fromkeys(("axes.edgecolor", "text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 10, **ink}
    with rc_context(settings):
        yield Figure(figsize=(5.2, height), layout="constrained").subplots()


def svg_of(axes: "Axes", across: str, up: str, colours: Sequence[str], label: str) -> Markup:
    """The SVG element alone, without what belongs to a file of its own, in the page's colours and font.

    It was drawn with :func:`stand_in`, a CSS colour for each number. ``across`` and ``up`` are what the axes say,
    ``label`` what the figure is for a screen reader.
    """
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color=_INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = StringIO()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"[^\"]*\">", "<g>", svg)  # two figures on a page would share these ids
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    view = re.search(r"viewBox=\"[^\"]*\"", svg)
    head = f'<svg {view[0] if view else ""} role="img" aria-label="{escape(label)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
    for number, colour in enumerate(colours):
        svg = svg.replace(stand_in(number), colour)
    return Markup(svg.replace(_INK, "currentColor"))
