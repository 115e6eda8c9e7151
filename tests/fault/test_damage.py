"""A store that was moved, copied or damaged: what is whole is found again, and nothing else is used."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddselect.pipeline import STAGES
from ddselect.runtime.errors import UserError
from ddselect.runtime.integrity import MANIFEST, check
from tests.fault.runs import SMALL, run_here
from tests.helpers.damage import DAMAGES, flip
from tests.helpers.data import picture, write_folder

pytestmark = pytest.mark.slow

EVERY = (
    *SMALL,
    *("dataset.sizes.train=40", "dataset.sizes.test=20"),
    *("backbone=class_unet", "backbone/adapt=scratch", "backbone.adapt.steps=2", "backbone.dtype=fp32"),
    *("teacher=trained", "teacher.recipe.steps=2", "teacher.check=false", "scoring.check_prior=false"),
    *("pool=mixed", "pool.per_class=2", "pool.steps=1", "scoring.keep_latents=true", "compare=[rded]"),
    *("pilot.classes=2", "pilot.images=5", "pilot.reference=1", "pilot.draws=[1]", "pilot.bands=[[0.2,0.6]]"),
    *("relabel=logits", "stages=[report,pilot]", "hydra.run.dir=run", "trainer.students=1"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that made every stage."""
    folder = tmp_path_factory.mktemp("every") / "project"
    folder.mkdir()
    ended = run_here(folder, *EVERY)
    assert ended.code == 0, ended.err
    return folder


def stages(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / "store").glob(f"*/*/{MANIFEST}"))


def found(folder: Path) -> list[dict[str, Any]]:
    """What a run found, without what it took."""
    entries = json.loads((folder / "run" / "results.json").read_text())["results"]
    return [
        {k: v for k, v in entry.items() if k not in ("seconds", "peak_bytes", "bytes", "reused")} for entry in entries
    ]


def test_the_run_has_every_stage(whole: Path) -> None:
    assert {folder.parent.name for folder in stages(whole)} == {stage.name for stage in STAGES} - {
        "report",
        "given_check",
    }


def test_no_path_of_this_machine_stands_in_the_store(whole: Path) -> None:
    for file in (whole / "store").rglob("*"):
        if file.is_file():
            assert str(whole).encode() not in file.read_bytes(), file


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_to_any_file_of_any_stage_is_found(
    whole: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    for stage in stages(whole):
        copy = tmp_path / stage.parent.name / stage.name
        shutil.copytree(stage, copy)
        assert check(copy)[1] == []
        kinds = {(file.parent, file.suffix): file for file in sorted(copy.rglob("[!.]*")) if file.stat().st_size > 1}
        for file in kinds.values():
            if file.is_dir():
                continue
            before = file.read_bytes()
            damage(file)
            if file.name != MANIFEST:
                assert len(check(copy)[1]) == 1, file
            elif file.exists():
                with pytest.raises(UserError, match="is damaged"):
                    check(copy)
            file.write_bytes(before)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_damaged_stages_are_made_again_and_the_results_are_the_same(whole: Path, tmp_path: Path, damage: str) -> None:
    project = tmp_path / "project"
    shutil.copytree(whole, project)
    harmed = []
    for stage in stages(project):
        files = [file for file in sorted(stage.rglob("[!.]*")) if file.is_file() and file.name != MANIFEST]
        if files:
            harmed.append(stage)
            DAMAGES[damage](files[len(files) // 2])
    ended = run_here(project, *EVERY)
    assert ended.code == 0, ended.err
    for stage in harmed:
        assert ended.err.count(f"  {stage.relative_to(project)}: ") == 1, stage
    assert found(project) == found(whole)
    assert "made again" not in run_here(project, *EVERY).err


def test_the_command_that_a_damaged_manifest_names_keeps_the_shards(whole: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(whole, project)
    [scoring] = (project / "store" / "scoring").iterdir()
    (scoring / MANIFEST).write_text("{}")
    shards = {path: path.stat().st_mtime_ns for path in scoring.glob("shard-*")}
    command = run_here(project, *EVERY).assert_one_line(2).partition("made again with: ")[2]
    assert command == f"rm {scoring.relative_to(project) / MANIFEST}"
    subprocess.run(shlex.split(command), cwd=project, check=True)
    ended = run_here(project, *EVERY)
    assert ended.code == 0, ended.err
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert found(project) == found(whole)


def as_copies(source: str, target: str) -> str:
    """Copies a file, which is as old as its copy then."""
    return shutil.copyfile(source, target)


@pytest.mark.parametrize("way", ["moved", "copied"])
def test_a_project_elsewhere_has_every_stage(whole: Path, tmp_path: Path, way: str) -> None:
    shutil.copytree(whole, tmp_path / "a")
    if way == "moved":
        (tmp_path / "a").rename(tmp_path / "b")
    else:
        shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=as_copies)
        shutil.rmtree(tmp_path / "a" / "store")
    ended = run_here(tmp_path / "b", *EVERY)
    assert ended.code == 0, ended.err
    assert " ..." not in ended.err
    assert found(tmp_path / "b") == found(whole)
    exported = run_here(tmp_path / "b", "export", "run", "--to", "set", "--selection", "rded")
    assert exported.code == 0, exported.err


def test_a_copied_store_reads_its_own_images(whole: Path, tmp_path: Path) -> None:
    """Further candidates are cut from them, from drawn ones and from those that the prior made."""
    shutil.copytree(whole, tmp_path / "a")
    shutil.copytree(tmp_path / "a" / "store", tmp_path / "b" / "store", copy_function=as_copies)
    shutil.rmtree(tmp_path / "a")
    ended = run_here(tmp_path / "b", *EVERY, "selection=random_image", "ipc=9", "stages=[composition]", "compare=[]")
    assert ended.code == 0, ended.err
    assert ended.err.count(" ...") == 2  # selection and composition


FOLDER = ("dataset=imagefolder", "selection=random_image", "compare=[]", "ipc=1", "stages=[composition]")


@pytest.mark.parametrize("moved", ["store and images", "store", "images"])
def test_images_and_store_may_move_apart(tmp_path: Path, moved: str) -> None:
    write_folder(tmp_path / "a" / "photos")
    first = run_here(tmp_path / "a", *FOLDER, "dataset.root=photos", "hydra.run.dir=run")
    assert first.code == 0, first.err
    (tmp_path / "b").mkdir()
    for name in {"store and images": ("store", "photos"), "store": ("store",), "images": ("photos",)}[moved]:
        (tmp_path / "a" / name).rename(tmp_path / "b" / f"new {name}")
    store, photos = (
        next(path for path in (tmp_path / "b" / f"new {name}", tmp_path / "a" / name) if path.exists())
        for name in ("store", "photos")
    )
    places = (f"store='{store}'", f"dataset.root='{photos}'", "hydra.run.dir=again")
    ended = run_here(tmp_path / "b", *FOLDER, *places)
    assert ended.code == 0, ended.err
    assert " ..." not in ended.err
    larger = run_here(tmp_path / "b", *FOLDER, *places, "ipc=2")
    assert larger.code == 0, larger.err
    assert larger.err.count(" ...") == 1  # the composition, which reads the images


def test_images_that_changed_while_they_moved_are_indexed_again(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos")
    settings = (*FOLDER, "stages=[index]", "hydra.run.dir=run")
    assert run_here(tmp_path, *settings, "dataset.root=photos").code == 0
    (tmp_path / "photos").rename(tmp_path / "others")
    picture(30, 30, seed=77).save(tmp_path / "others" / "train" / "ant" / "000.png")
    ended = run_here(tmp_path, *settings, "dataset.root=others")
    assert "index ..." in ended.err
    assert len(stages(tmp_path)) == 2


def test_an_export_checks_what_it_copies(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "a")
    [labels] = [entry["labels"] for entry in found(tmp_path / "a") if entry["selection"] == "rded"]
    flip(sorted((tmp_path / "a" / "run" / labels).glob("labels-*"))[0])
    ended = run_here(tmp_path / "a", "export", "run", "--to", "set", "--selection", "rded")
    assert "labels-00000-of-" in ended.assert_one_line(2)
    assert not (tmp_path / "a" / "set").exists()
