"""Where the YAML files are and what there is to choose from; imports nothing, so that completion and help are quick."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_further: list[str] = []


def conf_dir() -> Path:
    """The folder of the YAML files: in the package when installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def further() -> list[str]:
    """Where Hydra looks for YAML files beside :func:`conf_dir`: folders, or ``pkg://<module>``."""
    return list(_further)


@contextmanager
def searching(places: Iterable[str]) -> Iterator[None]:
    """Has Hydra look in further places too."""
    before = further()
    _further[:] = dict.fromkeys([*before, *places])
    try:
        yield
    finally:
        _further[:] = before


def options(group: str) -> list[str]:
    """Names of a group's options."""
    folders = [conf_dir(), *(Path(place.removeprefix("file://")) for place in _further)]
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
