"""``ddselect export``: what it writes, and what it refuses."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import webdataset
from datasets import load_dataset

from ddselect.composition.card import Card
from ddselect.export.finding import Found
from ddselect.export.writing import write_tars
from tests.export.test_loading import example, lines, run_example
from tests.fault.runs import run_here


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_names_the_folder_of_its_set(work: Path, entry: dict, distilled: Path) -> None:
    assert not Path(entry["distilled"]).is_absolute()  # run and store can be moved together
    assert len(list(distilled.glob("*/*.png"))) == 20
    said = [line for line in (work / "said").read_text().splitlines() if "distilled:" in line]
    assert len(said) == 1
    assert distilled.relative_to(work).as_posix() in said[0]


def test_class_folders_are_what_is_in_the_store(exported: Path, distilled: Path) -> None:
    found, stored = content(exported), content(distilled)
    assert {name: data for name, data in found.items() if name in stored and name != "README.md"} == {
        name: data for name, data in stored.items() if name != "README.md"
    }
    more = {name for name in found if name not in stored}
    assert more == {"labels.json", *(f"labels-{step:05d}-of-00003.safetensors" for step in range(3))}
    assert "## The teacher's labels" in found["README.md"].decode()
    assert "## The teacher's labels" not in stored["README.md"].decode()


def test_webdataset_and_datasets_read_the_tars(work: Path, distilled: Path, tmp_path: Path) -> None:
    ended = run_here(work, "export", "run", "--to", "tars", "--format", "webdataset", "--selection", "random_crop")
    assert (ended.code, ended.out) == (0, "exported: tars\n"), ended.err
    urls = sorted(str(path) for path in (work / "tars").glob("train-*.tar"))
    samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(urls, shardshuffle=False)}
    assert len(samples) == 20
    for number, told in enumerate(lines(distilled)):
        sample = samples[f"{number:08d}"]
        assert json.loads(sample["json"]) == told
        assert int(sample["cls"]) == told["label"]
        assert sample["png"] == (distilled / told["file_name"]).read_bytes()
    images = load_dataset(str(work / "tars"), split="train", cache_dir=str(tmp_path))
    assert {row["__key__"]: row["cls"] for row in images} == {key: int(samples[key]["cls"]) for key in samples}
    card = work / "tars" / "README.md"
    code = example(card.read_text())
    card.write_text(card.read_text().replace(code, code.replace("range(20)", "range(2)")))
    assert run_example(work / "tars")["said"].count("loss") == 2
    assert (work / "tars" / "labels.json").exists()


@pytest.fixture
def found(distilled: Path) -> Found:
    manifest = json.loads((distilled.parent / "manifest.json").read_text())
    return Found(distilled, Card(**manifest["facts"]["card"]), None)


def test_tars_are_bounded_and_the_same_every_time(found: Found, tmp_path: Path) -> None:
    limit = 40_960
    for name in ("one", "two"):
        write_tars(found, tmp_path / name, limit)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    tars = sorted((tmp_path / "one").glob("train-*.tar"))
    assert len(tars) > 1
    assert max(path.stat().st_size for path in tars) <= limit
    keys, classes = [], []
    for path in tars:
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
        assert names == [
            f"{key}.{suffix}" for key in dict.fromkeys(n[:8] for n in names) for suffix in ("png", "cls", "json")
        ]
        keys += [name[:8] for name in names[::3]]
        classes.append({int(key) // 2 for key in keys})
    assert sorted(keys) == [f"{number:08d}" for number in range(20)]
    assert keys != sorted(keys)  # a shard has images of many classes
    assert len(classes[0]) > 2
    write_tars(found, tmp_path / "small", 1)
    assert len(list((tmp_path / "small").glob("train-*.tar"))) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "run/results.json has 2 distilled sets; choose one of --selection random_crop|random_image"),
        (
            ("run", "--selection", "rded"),
            "run/results.json has nothing of selection rded; it has --selection random_crop|",
        ),
        (("run", "--selection", "random_crop", "--seed", "7"), "has nothing of selection random_crop, seed 7"),
        (("nowhere",), "nowhere/results.json is missing; give the folder of a finished run"),
        (("run", "--selection", "random_crop", "--shard-size", "0"), "--shard-size 0: at least 1 MiB"),
        (("run", "--seed", "x"), "export: argument --seed: invalid int value: 'x'; see ddselect export --help"),
        (("run", "--format", "zip"), "export: argument --format: invalid choice: 'zip'"),
    ],
)
def test_what_does_not_fit_is_one_line(work: Path, arguments: tuple[str, ...], message: str) -> None:
    line = run_here(work, "export", *arguments, "--to", "never").assert_one_line(2)
    assert message in line
    assert not list(work.glob("*never*"))


def test_a_folder_that_is_taken(work: Path, exported: Path, distilled: Path, tmp_path: Path) -> None:
    command = ("export", str(work / "run"), "--selection", "random_image", "--to")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert "is no earlier export" in run_here(tmp_path, *command, "mine", "--overwrite").assert_one_line(2)
    assert content(mine) == {"thesis.txt": b"years of work"}
    ended = run_here(tmp_path, *command, str(distilled), "--overwrite")
    assert "is no earlier export" in ended.assert_one_line(2)  # but what the run itself reads
    shutil.copytree(exported, tmp_path / "set")
    before = content(tmp_path / "set")
    assert "add --overwrite" in run_here(tmp_path, *command, "set").assert_one_line(2)
    assert content(tmp_path / "set") == before
    assert run_here(tmp_path, *command, "set", "--overwrite").code == 0
    assert "distilled by the selection random_image" in (tmp_path / "set" / "README.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "set"}


def test_an_export_that_fails_leaves_what_was_there(
    work: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported, tmp_path / "set")
    before = content(tmp_path / "set")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "labels.json")

    monkeypatch.setattr("ddselect.export.writing._write_rest", full)
    command = ("export", str(work / "run"), "--selection", "random_crop", "--to", "set", "--overwrite")
    assert "no space left on the disk for labels.json" in run_here(tmp_path, *command).assert_one_line(2)
    assert {path.name for path in tmp_path.iterdir()} == {"set"}
    assert content(tmp_path / "set") == before


def test_a_kill_between_the_two_renames_loses_nothing(work: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / ".set.old")
    (tmp_path / ".set.partial").mkdir()
    command = ("export", str(work / "run"), "--selection", "random_crop", "--to", "set")
    assert "add --overwrite" in run_here(tmp_path, *command).assert_one_line(2)
    assert content(tmp_path / "set") == content(exported)


def test_a_set_that_is_gone_from_the_store(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "run", tmp_path / "run")
    line = run_here(tmp_path, "export", "run", "--selection", "random_crop", "--to", "set").assert_one_line(2)
    assert "is gone from the store; give the run's command again to make it" in line
