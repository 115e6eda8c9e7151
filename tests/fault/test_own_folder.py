"""A run or a sweep never shares a folder with another: it has one of its own, or is refused."""

import json
import multiprocessing
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from ddselect.options import conf_dir
from ddselect.runtime.errors import UserError
from ddselect.runtime.own_folder import letting_go, take
from tests.fault.runs import Ended, run_here
from tests.helpers.data import write_folder

_FORK = multiprocessing.get_context("fork")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("data", "others"):
        write_folder(tmp_path / name, per_class=1)
    return tmp_path


def look(place: Path, *arguments: str) -> Ended:
    """A run that only looks at a few images."""
    return run_here(place, "dataset=imagefolder", "dataset.root=data", "stages=[index]", *arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_of_many(folder: Path, together: "multiprocessing.synchronize.Barrier") -> None:  # type: ignore[name-defined]
    together.wait()
    (take(folder, by_clock=True, key="hydra.run.dir") / "mine").touch(exist_ok=False)
    together.wait()  # all of them at work


def test_runs_that_start_at_the_same_moment_have_folders_of_their_own(tmp_path: Path) -> None:
    barrier = _FORK.Barrier(6)
    runs = [_FORK.Process(target=one_of_many, args=(tmp_path / "outputs" / "now", barrier)) for _ in range(6)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0] * 6
    assert {path.parent.name for path in tmp_path.glob("outputs/*/mine")} == {"now", *(f"now_{n}" for n in range(2, 7))}


def test_a_folder_that_the_clock_names_is_a_new_one(place: Path) -> None:
    hydra = OmegaConf.to_container(OmegaConf.load(conf_dir() / "config.yaml"), resolve=False)["hydra"]  # type: ignore[index, call-overload]
    assert all("${now:" in hydra[kind]["dir"] for kind in ("run", "sweep"))
    for seed in range(3):
        assert look(place, "hydra.run.dir=runs/${now:%Y}", f"seeds=[{seed}]").code == 0
    found = {path.parent.parent.name[4:]: path.read_text() for path in place.glob("runs/*/.hydra/overrides.yaml")}
    assert found.keys() == {"", "_2", "_3"}
    assert all(f"seeds=[{max(0, int(name[1:] or 1) - 1)}]" in text for name, text in found.items())


def test_a_folder_that_is_in_use_is_refused(place: Path) -> None:
    (place / "run").mkdir()
    with FileLock(place / "run" / ".lock"):
        line = look(place, "hydra.run.dir=run").assert_one_line(2)
        assert contents(place / "run") == {".lock": b""}
    assert "hydra.run.dir=run: it is in use by another run" in line
    for _ in range(2):  # it is let go of at the end
        assert look(place, "hydra.run.dir=run").code == 0


@pytest.mark.parametrize(
    ("settings", "differs"),
    [
        ("seeds=[1]", "seeds"),
        ("ipc=3", "ipc"),
        ("selection=rded", "selection"),
        ("compare=[]", "selection"),
        ("dataset.image_size=16", "dataset"),
        ("dataset.root=others", "dataset"),
        ("protocol.steps=3", "protocols"),
    ],
)
def test_the_results_of_other_settings_are_not_written_over(settings: str, differs: str, place: Path) -> None:
    assert look(place, "hydra.run.dir=run").code == 0
    (place / "run" / "results.json").write_text("{}")
    before = contents(place / "run")
    line = look(place, "hydra.run.dir=run", "stages=[report]", settings).assert_one_line(2)
    assert line.startswith(f"ddselect: hydra.run.dir={place / 'run'}: it holds the results of other settings (")
    assert differs in line.partition("settings (")[2]
    assert contents(place / "run") == before


@pytest.mark.parametrize("settings", ["trainer=cpu", "trainer.threads=1", "scoring.batch_size=3", "store=other"])
def test_the_same_results_may_be_found_again_in_another_way(settings: str, place: Path) -> None:
    assert look(place, "hydra.run.dir=run").code == 0
    (place / "run" / "results.json").write_text("{}")
    ended = look(place, "hydra.run.dir=run", "stages=[report]", settings)  # refused, but for its prior
    assert "other settings" not in ended.assert_one_line(2)


def test_a_folder_without_results_is_free_and_results_without_settings_are_not(place: Path) -> None:
    for seed in range(2):
        assert look(place, "hydra.run.dir=run", f"seeds=[{seed}]").code == 0
    assert json.loads((place / "run" / "settings.json").read_text())["seeds"] == [1]
    (place / "earlier").mkdir()
    (place / "earlier" / "results.json").write_text("{}")
    line = look(place, "hydra.run.dir=earlier", "stages=[report]").assert_one_line(2)
    assert "the results of other settings (which, is not known)" in line


def test_the_other_ranks_of_a_run_share_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(place, "hydra.run.dir=run").code == 0
    before = contents(place / "run")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with FileLock(place / "run" / ".lock"):  # which the first one has
        assert look(place, "hydra.run.dir=run", "trainer.devices=2").code == 0
    assert contents(place / "run") == before


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileLock, *_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with letting_go():
        places = [take(tmp_path / "run", by_clock, "hydra.run.dir").name for by_clock in (True, True, False)]
    assert places == ["run", "run_2", "run"]


def test_what_is_held_is_let_go_of_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in use"), letting_go():
        [take(tmp_path / "run", False, "hydra.run.dir") for _ in range(2)]
    with letting_go():
        assert take(tmp_path / "run", False, "hydra.run.dir") == tmp_path / "run"
