"""Settings by Hydra's grammar: what a user types and what a process hands to another is read as it is meant."""

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ddselect.runtime.errors import check_unicode


def setting(key: str, text: str) -> str:
    """The word that sets a key to a text, in quotes where Hydra would read the bare text as something else."""
    word = f"{key}={text}"
    return word if _is_read_as(_value(word), text) else f"{key}={_quoted(text)}"


def as_meant(words: Sequence[str]) -> list[str]:
    """A typed command line with Hydra's options first, wherever they stood, and with quotes where Hydra needs them.

    A shell has taken away the quotes that were typed for it, and Hydra's grammar refuses most characters without quotes
    of its own. So a setting that it cannot read becomes a text; in a list, or in a sweep's alternatives, each item for
    itself. What is there as a file or a folder is meant as such, and ``~`` is the home folder. What Hydra can read
    keeps its meaning.

    Raises:
        UserError: A word is not Unicode.
    """
    from hydra._internal.utils import get_args_parser

    for word in words:
        check_unicode(word, "the command line: the word")
    parsed = get_args_parser().parse_intermixed_args(list(words))
    settings: list[str] = list(parsed.overrides)
    sweeps, options, left = parsed.multirun or "hydra.mode=MULTIRUN" in settings, list[str](), list(settings)
    for word in words:
        if left[:1] == [word]:
            left.pop(0)
        else:
            options.append(word)
    return [*options, *(_meant(word, sweeps) for word in settings)]


def search_path(hydra: Any, main: Path) -> list[str]:
    """Hydra's options with which another process finds the configs that a run was composed of.

    Args:
        hydra: The run's ``HydraConfig.get()``.
        main: The folder in which it looks without an option.
    """
    words, others = list[str](), list[str]()
    for source in hydra.runtime.config_sources:
        if source.provider == "main" and source.path != str(main):
            words += ["--config-path", source.path if source.schema == "file" else f"{source.schema}://{source.path}"]
        elif source.provider == "command-line":
            words += ["--config-dir", source.path]
        elif source.provider == "hydra.searchpath in command-line":
            others.append(_quoted(f"{source.schema}://{source.path}"))
    if hydra.job.config_name != "config":
        words += ["--config-name", hydra.job.config_name]
    return [*words, *([f"hydra.searchpath=[{','.join(others)}]"] if others else [])]


def _meant(word: str, sweeps: bool) -> str:
    """A setting as Hydra reads what is meant; as it is where that is not clear."""
    key, equals, text = word.partition("=")
    if not (equals and _KEY.fullmatch(key)):
        return word
    several, value, place = sweeps and "," in text, _value(word), os.path.expanduser(text)  # noqa: PTH111
    is_path = not isinstance(value, bool | None) and (not several or "/" in text)
    if is_path and os.path.exists(place):  # noqa: PTH110  (it may be any text)
        return setting(key, place)
    if text[:1] == "[" and text[-1:] == "]":
        items = _items(text[1:-1])
        return word if items is None else f"{key}=[{items}]"
    if several:
        items = _items(text)
        return word if items is None else f"{key}={items}"
    is_number = isinstance(value, int | float)
    is_text = "_" in text if is_number else value is _REFUSED and text[:1] not in "{["  # 2024_01 is a text too
    return setting(key, place) if is_text else word


def _items(text: str) -> str | None:
    """Items with commas between them, those that Hydra cannot read as texts; None if the commas are others' too."""
    items = []
    for item in text.split(","):
        value = _value(f"x=[{item}]")
        if value is not _REFUSED:
            items.append(item)
        elif item.strip()[:1] in ("'", '"', "{", "[") or any(item.count(a) != item.count(b) for a, b in _BRACKETS):
            return None
        else:
            items.append(_quoted(os.path.expanduser(item.strip())))  # noqa: PTH111
    return ",".join(items)


_KEY = re.compile(r"\+{0,2}[\w$][\w$./@:-]*")
_REFUSED = object()
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


def _value(word: str) -> Any:
    """The value that Hydra reads in a setting; ``_REFUSED`` if it cannot."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_overrides([word])[0].value()
    except HydraException:
        return _REFUSED


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _is_read_as(value: Any, text: str) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and str(value) == text


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()
