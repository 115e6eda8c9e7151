"""What every HTML page has in common: one file, its style and its scripts inside, light and dark, names escaped."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ddselect.report.units import duration, size


def render_page(template: str, folder: str, **values: Any) -> str:
    """A page from a template that extends ``page.html.jinja``.

    That one has the blocks ``title``, ``style`` (further CSS), ``nav`` (links to the sections), ``content`` and
    ``script``; the filters ``duration`` (seconds), ``size`` (bytes) and ``breakable`` (names) can be used.
    The folder is that of this package in which the template lies, such as ``report``.
    """
    loaders = [PackageLoader("ddselect", name) for name in dict.fromkeys((folder, "report"))]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "size": size, "breakable": _breakable}
    return environment.get_template(template).render(**values)


def _breakable(name: str) -> Markup:
    """A name that a narrow page can break after its underscores."""
    return escape(name).replace("_", Markup("_<wbr>"))
