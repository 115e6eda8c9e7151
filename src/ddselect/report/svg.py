"""Figures as SVG that takes its colours and its font from the page."""

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from markupsafe import escape

if TYPE_CHECKING:  # matplotlib takes half a second to import: only a run that gets to its report pays for it
    from matplotlib.figure import Figure

INK = "#fd0000"  # stand-ins that matplotlib can draw with, replaced by the page's colours in the finished SVG


def stand_in(number: int) -> str:
    """What to draw with in place of a figure's colour of this number."""
    return f"#fe{number:04x}"


def svg_settings(salt: str) -> dict[Any, Any]:
    """Matplotlib's settings for a figure, which a word tells from others on the page."""
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 10, "axes.edgecolor": INK}
    return settings | {"text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}


def svg_of(figure: "Figure", colours: Sequence[str], label: str) -> str:
    """The SVG element alone, without what belongs to a file of its own, in the page's colours and font.

    Args:
        figure: Drawn with :data:`INK` and :func:`stand_in`.
        colours: The CSS colour of each number.
        label: What the figure is for a screen reader.
    """
    buffer = StringIO()
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
    return svg.replace(INK, "currentColor")
