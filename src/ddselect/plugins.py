"""Packages that add to this one: those that are installed as plug-ins, and those that a run names under ``plugins``."""

import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from omegaconf import OmegaConf

from ddselect.options import conf_dir
from ddselect.runtime.errors import UserError
from ddselect.runtime.stage import Stage

ENTRY_POINTS = "ddselect.plugins"


def packages(named: Iterable[str]) -> list[str]:
    """The packages that are installed as plug-ins, and those that are named."""
    return list(dict.fromkeys([*_installed(tuple(sys.path)), *named]))


@cache
def _installed(_path: tuple[str, ...]) -> list[str]:
    return sorted({entry.module for entry in entry_points(group=ENTRY_POINTS)})


def named_by(settings: Iterable[str]) -> list[str]:
    """The packages that settings of a command line name or, where they name none, ``conf/config.yaml``.

    What is not written as a list of names is left to who reads the composed config.
    """
    told = [match[1] for word in settings if (match := re.fullmatch(r"\+*plugins=\[([\w., ]*)\]", word))]
    names = told[-1].split(",") if told else OmegaConf.select(OmegaConf.load(conf_dir() / "config.yaml"), "plugins")
    return [name.strip() for name in names if name.strip()]


def folders(of: Iterable[str]) -> list[str]:
    """The folders ``conf`` of packages, in which Hydra is to look for options; nothing of the packages is imported.

    Raises:
        UserError: There is no such package.
    """
    places = [Path(place) / "conf" for package in of for place in _places(package)]
    return [str(place) for place in places if place.is_dir()]


def _places(package: str) -> Sequence[str]:
    """Where a package lies; nowhere for a single module."""
    try:
        spec = find_spec(package) if all(part.isidentifier() for part in package.split(".")) else None
    except ModuleNotFoundError:  # of a package that it would be in
        spec = None
    if spec is None:
        raise UserError(f"plugins=[{package}]: no such package; install it, or name its parent folder in PYTHONPATH")
    return spec.submodule_search_locations or ()


def stages_of(of: Iterable[str], known: Iterable[Stage]) -> list[Stage]:
    """The stages that packages have under the name ``STAGES``.

    Raises:
        UserError: One of them has the name of a known one.
    """
    found = {stage.name: stage for stage in known}
    for package in of:
        for stage in getattr(importlib.import_module(package), "STAGES", ()):
            if found.setdefault(stage.name, stage) is not stage:
                raise UserError(f"plugins=[{package}]: its stage '{stage.name}' has the name of another; rename it")
    return list(found.values())
