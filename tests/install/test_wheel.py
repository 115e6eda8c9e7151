"""The wheel holds all that a run needs, and its command works from any folder."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.fault.runs import SMALL

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")

pytestmark = pytest.mark.slow


def call(command: Sequence[str | Path], folder: Path) -> str:
    """Standard output of a command that must succeed, without this checkout on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], folder)
    (built,) = folder.glob("ddselect-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; its dependencies are those of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files over there are not read
    call([*PIP, "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel], folder)
    return folder


def test_wheel_holds_configuration_and_weights(wheel: Path) -> None:
    files = set(ZipFile(wheel).namelist())
    for folder, inside in ((ROOT / "conf", "ddselect/conf"), (ROOT / "src" / "ddselect", "ddselect")):
        parts = [file.relative_to(folder).parts for file in folder.rglob("*") if file.is_file()]
        wanted = [names for names in parts if not any(name[0] == "." or name == "__pycache__" for name in names)]
        assert {"/".join((inside, *names)) for names in wanted} <= files
    assert "ddselect/conf/config.yaml" in files
    assert "ddselect/backbone/embedded/unet/diffusion_pytorch_model.safetensors" in files
    assert "ddselect/teacher/embedded/teacher.safetensors" in files
    assert not [file for file in files if file.startswith("tests/") or file.endswith((".pyc", ".ckpt"))]


def test_the_environment_has_the_installed_package_only(installed: Path, tmp_path: Path) -> None:
    found = call([installed / "bin" / "python", "-c", "import ddselect; print(ddselect.__file__)"], tmp_path)
    assert Path(found.strip()).is_relative_to(installed)


def test_the_installed_command_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    settings = [*(word for word in SMALL if not word.startswith("ipc=")), "ipc=1"]
    out = call([installed / "bin" / "ddselect", *settings], tmp_path)
    name, _, path = out.splitlines()[-1].partition(": ")
    assert name == "results"
    content = json.loads(Path(path).read_text())
    assert content["schema_version"] == 2
    assert [entry["ipc"] for entry in content["results"]] == [1]
    assert Path(path).is_relative_to(tmp_path / "outputs")
    assert {child.name for child in tmp_path.iterdir()} == {"outputs", "store"}
