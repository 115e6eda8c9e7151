"""Protocols as a command line gives them."""

from functools import cache

from hydra import compose, initialize_config_dir

from ddselect.options import conf_dir
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.schema import build


@cache
def preset(name: str, *overrides: str) -> ProtocolConfig:
    """An option of ``conf/protocol`` with overrides."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        protocol: ProtocolConfig = build(compose("config", [f"protocol={name}", *overrides]), "protocol")
    return protocol
