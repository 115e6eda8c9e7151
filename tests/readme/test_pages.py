"""Every command on every page is run or composed, or says what it needs; tables are what their files give."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import ddselect
from ddselect.config import build_experiment
from ddselect.export.command import _parser
from tests.fault.runs import SMALL
from tests.helpers.configs import composed

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "multirun/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").rglob("*.md")),
]
MARK = re.compile(r"needs a (GPU|download)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python run\.py [^`]*)`")
OTHERS = ("<", "sharpest", "--config-dir=my_conf")  # a place of the reader's own, or a plug-in, which its own test runs
LAUNCHER = (
    "hydra/launcher=",
    "hydra/sweeper=",
    "hydra.",
)  # of packages beside Hydra, whose options a test of theirs has


def blocks(language: str) -> list[str]:
    """The code of all pages in a language; commands have none."""
    return [code for page in PAGES for found, code in BLOCK.findall(page.read_text()) if found == language]


def lines() -> list[str]:
    """Every command with its comment."""
    shown = [line for code in blocks("") for line in code.splitlines() if line.strip() and not line.startswith("#")]
    told = [command for page in PAGES for command in INLINE.findall(BLOCK.sub("", page.read_text()))]
    return sorted(line for line in {*shown, *told} if not any(sign in line for sign in OTHERS))


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


COMMANDS = lines()
RUNS = [line for line in COMMANDS if words(line)[:2] == ["python", "run.py"] or words(line)[0] == "ddselect"]


def first_of(word: str) -> str:
    """The first job's setting of what a sweep is given."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    if override.is_interval_sweep():
        return f"{override.get_key_element()}={override.value().start}"
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


@pytest.mark.parametrize("line", RUNS)
def test_a_run_is_composed_and_checked(line: str) -> None:
    given = words(line)[1 if words(line)[0] == "ddselect" else 2 :]
    if given[:1] == ["export"]:
        _parser().parse_args(given[1:] or ["run", "--to", "folder"])
    elif given[:1] not in (["sweep-report"], ["--help"]):
        settings = [word for word in given if word not in ("-m", "--cfg", "job") and not word.startswith(LAUNCHER)]
        build_experiment(composed(*(first_of(word) for word in settings) if "-m" in given else settings))


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in RUNS])
def test_another_command_exists(line: str) -> None:
    command = words(line)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if command[0] == "make":
        assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif command[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(command[2])
    elif command[:2] == ["python", "-c"]:
        compile(command[2], line, "exec")
    elif command[0] == "python":
        assert (ROOT / command[1]).is_file()
    elif command[:2] == ["pip", "install"] and (ROOT / command[2]).is_dir():
        assert (ROOT / command[2] / "pyproject.toml").is_file()
    else:
        assert MARK.search(line), f"{line}: nothing tests it, and it does not say that it needs a GPU or a download"
        assert {*re.findall(r"\[(\w+)\]", line)} <= {*extras}


@pytest.mark.slow
def test_python_on_the_pages_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = [word for word in SMALL if not word.startswith(("ipc=", "compare="))]

    def quick(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *settings: function(*small, *(re.sub("ipc=.*", "ipc=1", word) for word in settings))

    for name in ("run", "score", "select"):
        monkeypatch.setattr(ddselect, name, quick(getattr(ddselect, name)), raising=False)
    found = blocks("python")
    assert found
    for code in found:
        exec(compile(code, "page", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    made = {f"{name}.md" for name in ("run", "presets", "experiments", "backbone-adapt")}  # by docs/make
    made |= {f"{folder.name}.md" for place in ("conf", "experiments") for folder in (ROOT / place).iterdir()}
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", BLOCK.sub("", page.read_text())):
        assert (page.parent / link).exists() or Path(link).name in made, link


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_tables_are_what_their_files_give() -> None:
    tables = module(ROOT / "experiments" / "tables.py")
    for page in tables.TABLES:
        assert tables.made(page) == (ROOT / page).read_text(), f"{page}: make tables"


def test_the_reference_explains_every_key() -> None:
    pytest.importorskip("griffe")
    settings = module(ROOT / "docs" / "make" / "settings.py")
    found = settings.Settings()
    for group in found.groups:
        rows = [line for line in found.page(group).splitlines() if line.startswith(f"| `{group.replace('/', '.')}.")]
        assert rows
        for row in rows:
            name, kind, _, text = re.split(r"(?<!\\) \| ", row)
            assert text.strip(" |"), name
            assert kind, f"{name}: no such field"
