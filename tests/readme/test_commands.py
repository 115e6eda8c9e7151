"""The README's commands compose, and its file names and options exist."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from ddselect.options import conf_dir, options
from ddselect.schema import GROUPS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^python run\.py(?! sweep-report).*?(?=\s+#|$)", README, re.MULTILINE)


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 5


def _first(word: str) -> str:
    """The first job's setting of what a sweep is given."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    if override.is_interval_sweep():
        return f"{override.get_key_element()}={override.value().start}"
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str) -> None:
    words = [w for w in shlex.split(command)[2:] if w not in ("-m", "--cfg", "job")]
    overrides = [_first(word) for word in words] if "-m" in shlex.split(command) else words
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", overrides)
    for override in overrides:
        key, value = override.split("=", 1)
        if key in GROUPS:
            assert value in options(key)
        elif key == "ipc":
            assert cfg.ipc == int(value)


@pytest.mark.parametrize("group", sorted(set(GROUPS) & set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))))
def test_table_of_options_is_complete(group: str) -> None:
    line = next(line for line in README.splitlines() if line.startswith(f"| `{group}` |"))
    assert set(options(group)) <= set(re.findall(r"`([\w.=<> ]+)`", line)), (
        f"{group}: an option is missing in the README"
    )


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_tree_lists_every_package() -> None:
    for package in (ROOT / "src" / "ddselect").iterdir():
        if package.is_dir() and package.name != "__pycache__":
            assert f"{package.name}/" in README


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
