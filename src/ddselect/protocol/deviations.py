"""Where a run departs from the protocol that it names."""

import json
from dataclasses import fields

from omegaconf import OmegaConf

from ddselect.config import build, options, read_option
from ddselect.protocol.recipe import Protocol


def deviations(protocol: Protocol) -> list[str]:
    """Every key that is not as in ``conf/protocol/<name>.yaml``, e.g. ``protocol.epochs=100 (rded: 300)``."""
    if protocol.name not in options("protocol"):
        return [f"protocol.name={protocol.name} (no protocol of conf/protocol)"]
    preset: Protocol = build(OmegaConf.create({"protocol": read_option("protocol", protocol.name)}), "protocol")
    pairs = [(field.name, getattr(protocol, field.name), getattr(preset, field.name)) for field in fields(preset)]
    return [
        f"protocol.{name}={_text(value)} ({protocol.name}: {_text(usual)})"
        for name, value, usual in pairs
        if value != usual
    ]


def _text(value: object) -> str:
    """A value as on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
