"""Where the YAML files are and what there is to choose from; imports nothing, so that completion and help are quick."""

from pathlib import Path


def conf_dir() -> Path:
    """The folder of the YAML files: in the package when installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def options(group: str) -> list[str]:
    """Names of a group's options."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
