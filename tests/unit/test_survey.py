"""Reading a dataset's images: interrupted, gone on with, changed; broken ones; loops, leaks and copies."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from ddselect.dataset import survey as surveying
from ddselect.dataset.index import build_index, read_index
from ddselect.dataset.survey import Files
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json
from tests.helpers.damage import flip
from tests.helpers.data import folder_dataset, folder_index, picture, write_folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were read, in no order."""
    seen: list[str] = []
    facts = surveying._facts

    def counted(source):  # type: ignore[no-untyped-def]
        seen.append("/".join(source.path.parts[-3:]))
        return facts(source)

    monkeypatch.setattr(surveying, "_facts", counted)
    return seen


def test_only_what_changed_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    root = write_folder(tmp_path / "data")
    first = build_index(folder_dataset(root), tmp_path / "store" / "a")
    assert len(reads) == first["read"] == 24
    reads.clear()
    changed, gone = root / "train" / "ant" / "000.png", root / "val" / "bee" / "016.png"
    picture(33, 21, seed=7).save(changed)
    gone.unlink()
    picture(9, 9, seed=8).save(root / "train" / "cow" / "new.png")
    again = build_index(folder_dataset(root), tmp_path / "store" / "b")
    assert sorted(reads) == ["train/ant/000.png", "train/cow/new.png"]
    fresh = build_index(folder_dataset(root), tmp_path / "elsewhere" / "c")
    assert again["digest"] == fresh["digest"] != first["digest"]
    index = read_index(tmp_path / "store" / "b", root)
    assert index.table.equals(read_index(tmp_path / "elsewhere" / "c", root).table)
    assert index.sizes_at(index.ids.index("train/ant/000.png")) == (33, 21)
    assert "val/bee/016.png" not in index.ids


def test_content_changed_in_place_is_noticed(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    before = folder_dataset(root).signature()
    assert folder_dataset(root).signature() == before
    file = root / "train" / "ant" / "000.png"
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert folder_dataset(root).signature() != before
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert folder_dataset(root).signature() == before
    file.write_bytes(file.read_bytes() + b"more")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert folder_dataset(root).signature() != before


def test_rows_of_another_folder_or_form_are_not_taken_over(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(folder_dataset(write_folder(tmp_path / "one")), tmp_path / "store" / "a")
    build_index(folder_dataset(write_folder(tmp_path / "two")), tmp_path / "store" / "b")
    assert len(reads) == 48
    monkeypatch.setattr(surveying, "VERSION", "other")
    build_index(folder_dataset(tmp_path / "one"), tmp_path / "store" / "c")
    assert len(reads) == 72


@pytest.mark.parametrize("end", [KeyboardInterrupt, "broken"])
def test_an_interrupted_reading_goes_on(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, end: object
) -> None:
    monkeypatch.setattr(surveying, "_AT_ONCE", 2)
    monkeypatch.setattr(surveying, "_KEPT", 6)
    root, store = write_folder(tmp_path / "data", per_class=10), tmp_path / "store"
    victim = root / "train" / "bee" / "014.png"
    if end == "broken":
        whole = victim.read_bytes()
        victim.write_bytes(b"x")
        with pytest.raises(UserError, match=r"014.png: unreadable image"):
            build_index(folder_dataset(root), store / "a")
        victim.write_bytes(whole)
    else:
        with monkeypatch.context() as patch:
            patch.setattr("ddselect.runtime.progress.Counter.advance", Interrupt(7))
            with pytest.raises(KeyboardInterrupt):
                build_index(folder_dataset(root), store / "a")
    assert list((store / "a").glob("read-*.parquet"))
    assert not (store / "a" / "images.parquet").exists()
    reads.clear()
    facts = build_index(folder_dataset(root), store / ("b" if end == "broken" else "a"))
    assert len(reads) == facts["read"] == 60 - 14
    assert not list((store / ("b" if end == "broken" else "a")).glob("read-*.parquet"))
    assert facts["digest"] == build_index(folder_dataset(root), tmp_path / "fresh" / "c")["digest"]


class Interrupt:
    """Ctrl-C at the n-th call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_damaged_remains_are_ignored(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    build_index(folder_dataset(root), tmp_path / "store" / "a")
    table = tmp_path / "store" / "a" / "images.parquet"
    (tmp_path / "store" / "c").mkdir()
    (tmp_path / "store" / "c" / "read-00000.parquet").write_bytes(table.read_bytes())  # whole, but nobody noted so
    assert build_index(folder_dataset(root), tmp_path / "store" / "b")["read"] == 0
    for path in (table, tmp_path / "store" / "b" / "images.parquet"):
        flip(path)
    assert build_index(folder_dataset(root), tmp_path / "store" / "d")["read"] == 24


def test_files_are_read_in_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=20)
    facts = surveying._facts

    def meet(source):  # type: ignore[no-untyped-def]
        both.wait()
        return facts(source)

    monkeypatch.setattr(surveying, "_AT_ONCE", 1)
    monkeypatch.setattr(surveying, "processors", lambda: 2)
    monkeypatch.setattr(surveying, "_facts", meet)
    assert build_index(folder_dataset(write_folder(tmp_path / "data")), tmp_path / "w")["read"] == 24


def test_too_many_broken_images_are_refused_at_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", per_class=10)
    for name in ("010.png", "012.png", "014.png"):
        (root / "train" / "bee" / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"2 of 60 images are unreadable so far, more than dataset.broken_ceiling=0.03"):
        build_index(folder_dataset(root, broken="skip", broken_ceiling=0.03), tmp_path / "w")
    listed = read_json(tmp_path / "w" / "unreadable.json")["files"]
    assert [entry["path"] for entry in listed] == ["train/bee/010.png", "train/bee/012.png"]
    assert build_index(folder_dataset(root, broken="skip", broken_ceiling=0.05), tmp_path / "w")["unreadable"] == 3


def test_the_first_broken_image_in_order_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "_AT_ONCE", 1)
    root = write_folder(tmp_path / "data")
    for path in ("val/ant/012.png", "train/cow/010.png"):
        (root / path).write_bytes(b"")
    with pytest.raises(UserError, match=r"train/cow/010.png"):
        build_index(folder_dataset(root), tmp_path / "w")


def test_links_to_folders_above_do_not_loop(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    before = folder_index(root, tmp_path / "w").ids
    ant = root / "train" / "ant"
    (ant / "loop").symlink_to(ant)
    (ant / "higher").symlink_to(root / "train", target_is_directory=True)
    (ant / "itself").symlink_to(ant / "itself")
    ids = folder_index(root, tmp_path / "w2", nested="use").ids
    assert {i for i in ids if "higher" not in i} == set(before)
    assert not any(i.count("higher") > 1 or "loop" in i for i in ids)
    folder_dataset(root).signature()


def test_linked_files_and_folders_are_followed_and_a_dead_link_is_an_error(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    picture(8, 8, seed=99).save(tmp_path / "far.png")
    (root / "train" / "ant" / "link.png").symlink_to(tmp_path / "far.png")
    assert "train/ant/link.png" in folder_index(root, tmp_path / "w").ids
    (tmp_path / "far.png").unlink()
    with pytest.raises(UserError, match=r"link.png: unreadable image \(No such file"):
        folder_index(root, tmp_path / "w2")


def test_hidden_folders_and_links_that_lead_elsewhere_are_told(tmp_path: Path) -> None:
    far = write_folder(tmp_path / "far", splits=("",), classes=("dog", "elk"))
    root = write_folder(tmp_path / "data")
    for split in ("train", "val"):
        for name in ("dog", "elk"):
            (root / split / name).symlink_to(far / name)
        (root / split / "fox").symlink_to(root / split / "cow")
    (root / "train" / ".ant" / "more").mkdir(parents=True)
    (root / "train" / ".ipynb_checkpoints").mkdir()
    picture(8, 8).save(root / "train" / ".ant" / "more" / "0.png")
    facts = build_index(folder_dataset(root), tmp_path / "w")
    assert facts["classes"] == 6
    hidden, linked, *_ = facts["told"]  # type: ignore[misc]
    assert hidden.startswith("train/.ant: left out")
    assert linked.startswith("train/dog and 3 more: a link that leads out of dataset.root")
    assert str(tmp_path) not in hidden + linked


def test_hidden_files_are_no_images_and_names_must_be_unicode(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    (root / "train" / "ant" / "._000.png").write_bytes(b"left by a disk")
    assert len(folder_index(root, tmp_path / "w")) == 24
    (root / "train" / "ant" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(UserError, match=r"train/ant: the file name .*caf.*is not Unicode"):
        folder_index(root, tmp_path / "w2")


def test_copies_in_two_classes_and_in_train_and_test_are_told(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    before = build_index(folder_dataset(root), tmp_path / "w")
    assert (before["duplicates"], before["told"]) == ({}, [])
    original = (root / "train" / "bee" / "004.png").read_bytes()
    for copy in ("train/cow/copy.png", "train/bee/copy.png", "val/cow/copy.png"):
        (root / copy).write_bytes(original)
    (root / "val" / "ant" / "leak.png").write_bytes((root / "train" / "ant" / "000.png").read_bytes())
    facts = build_index(folder_dataset(root), tmp_path / "w2")
    found = facts["duplicates"]
    assert found["classes"]["images"] == 1  # type: ignore[index]
    assert found["classes"]["example"] == ["train/bee/004.png", "train/cow/copy.png"]  # type: ignore[index]
    assert found["splits"]["images"] == 2  # type: ignore[index]
    assert found["splits"]["example"] == ["train/ant/000.png", "val/ant/leak.png"]  # type: ignore[index]
    assert any(text.startswith("2 images are in more than one split") for text in facts["told"])  # type: ignore[attr-defined]


def test_a_hundred_thousand_rows_take_little_memory() -> None:
    from tracemalloc import get_traced_memory, start, stop

    from ddselect.dataset.folders import SourceFile

    start()
    try:
        sources = [
            SourceFile(f"train/n{i // 1000:08d}/n{i // 1000:08d}_{i}.JPEG", "train", "n") for i in range(100_000)
        ]
        files = Files(Path("/nowhere"), sources)
        for row in range(len(files)):
            files.note(row, (500, 375, 1, b"%016x" % row))
        table = files.table(np.arange(len(files)))
        peak = get_traced_memory()[1]
    finally:
        stop()
    assert (peak + table.nbytes + files.ids.nbytes) / len(files) < 1000  # Arrow's memory is not traced
    assert table["hash"][-1].as_py() == f"{99_999:016x}"
