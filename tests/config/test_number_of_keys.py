"""How much there is to set: every key is one more thing to understand, so their number has a ceiling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ddselect.options import conf_dir
from ddselect.schema import GROUPS

MOST = 197
PARTS = {"dataset.sizes"}  # one key, whatever its parts


def _read(file: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(file))


def _keys(node: dict[str, Any], place: str) -> Iterator[str]:
    """Full names of the keys below a node that hold a value."""
    for name, value in node.items():
        key = f"{place}.{name}"
        if isinstance(value, dict) and key not in PARTS:
            yield from _keys(value, key)
        elif name not in ("defaults", "_target_"):
            yield key


def test_number_of_keys() -> None:
    """Distinct keys over all options of all groups, and those outside of the groups."""
    found = set(_read(conf_dir() / "config.yaml")) - {"defaults", "hydra"}
    for group in GROUPS:
        for file in (conf_dir() / group).rglob("*.yaml"):
            found |= set(_keys(_read(file), ".".join(file.relative_to(conf_dir()).parts[:-1])))
    assert len(found) <= MOST, len(found)
