"""Composed configs, each composed once in a process: that takes longer than what most tests do with one."""

from functools import cache

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ddselect.options import conf_dir


@cache
def composed(*overrides: str) -> DictConfig:
    """The config that a command line gives; to be copied before anything in it is changed."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))
