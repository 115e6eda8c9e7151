"""Hydra's ``compose``: in its own application, in a worker, or in a process that is somebody else's."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf

from ddselect.options import conf_dir, further
from ddselect.runtime.errors import UserError, choose

_HYDRAS_OWN = ("hydra", "main", "schema")  # providers of a search path that every run has


class FurtherPlaces(SearchPathPlugin):
    """Adds to Hydra's search path what :func:`ddselect.options.searching` names, and nothing beyond it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for place in further():
            search_path.append("ddselect", place)


def register() -> None:
    """Lets Hydra know of the further places, from here on and in this process."""
    Plugins.instance().register(FurtherPlaces)


def places_of(hydra_config: Any) -> list[str]:
    """The further places in which Hydra looked for a config, whoever named them: plug-ins or the command line."""
    sources = hydra_config.runtime.config_sources
    return [f"{source.schema}://{source.path}" for source in sources if source.provider not in _HYDRAS_OWN]


@contextmanager
def composing() -> Iterator[ConfigLoader]:
    """Within it Hydra composes of our folder and the further places; what the process had before is restored."""
    register()
    version = VersionBase.instance()
    before = GlobalHydra.instance().hydra, version.version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra, version.version_base = before


class Options:
    """Options of groups as Hydra composes them, each in the place of the one that a run chose.

    Attributes:
        known: Names of all options of the groups that were asked for.
    """

    def __init__(self, cfg: DictConfig, wanted: Mapping[str, Sequence[str]]) -> None:
        """Composes options, given as names by group, all at once; those that there are."""
        with composing() as loader:
            self.known = {group: loader.get_group_options(group, ObjectType.CONFIG) for group in wanted}
            there = [(group, name) for group, names in wanted.items() for name in names if name in self.known[group]]
            found = compose(None, [f"+{group}@_{number}={name}" for number, (group, name) in enumerate(there)])
        self._cfg, self._found = cfg, {option: found[f"_{number}"] for number, option in enumerate(there)}

    def config(self, key: str, group: str, name: str) -> DictConfig:
        """The run's config with another option of a group, which a list under ``key`` names.

        Raises:
            UserError: There is none of this name.
        """
        if name not in self.known[group]:
            raise UserError(f"{key}={name}: no such {group}; {choose(name, self.known[group])}")
        other = self._cfg.copy()
        OmegaConf.set_struct(other, False)
        other[group] = self._found[group, name]
        return other
