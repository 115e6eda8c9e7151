"""What was written is what is read: files of unfinished and of finished stages."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ddselect.runtime import integrity
from ddselect.runtime.errors import UserError
from ddselect.runtime.integrity import (
    MANIFEST,
    check,
    is_sealed,
    mark,
    marks_of,
    mend,
    sealed,
    tidy,
    write_manifest,
)
from tests.helpers.damage import DAMAGES


def seal(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sealed(path) as place:
        place.write_text(content)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was looked at."""
    seen: list[str] = []
    monkeypatch.setattr(integrity, "mark", lambda path: seen.append(path.name) or mark(path))
    return seen


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_sealed_file_is_whole_until_something_happens_to_it(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = seal(tmp_path / "shard.bin", "content of a shard " * 10)
    assert is_sealed(path)
    damage(path)
    assert not is_sealed(path)


def test_a_damaged_note_vouches_for_nothing(tmp_path: Path) -> None:
    path = seal(tmp_path / "shard.bin", "content")
    (tmp_path / ".shard.bin.sum").write_bytes(b"\xff" * 40)
    assert not is_sealed(path)
    assert not is_sealed(tmp_path / "none")


def test_a_kill_between_note_and_file_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seal(tmp_path / "last.ckpt", "first")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _killed_before("last.ckpt"))
        with pytest.raises(KeyboardInterrupt):
            seal(path, "second")
    assert path.read_text() == "first"
    assert is_sealed(path)
    assert is_sealed(seal(path, "third"))


def _killed_before(name: str) -> Callable[[Path, Path], Path]:
    replace = Path.rename

    def kill(source: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise KeyboardInterrupt
        return replace(source, target)

    return kill


def test_what_a_kill_left_is_removed_and_notes_of_files_that_are_there_stay(tmp_path: Path) -> None:
    seal(tmp_path / "a" / "shard.bin", "x")
    seal(tmp_path / "last.ckpt", "y").unlink()
    (tmp_path / "a" / ".b.7.tmp").write_text("torn")
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".shard.bin.sum", "a", "shard.bin"]


def finished(folder: Path) -> Path:
    """A stage with a sealed shard, a table and a folder of pictures."""
    seal(folder / "shard-0.bin", "shard " * 50)
    (folder / "images" / "ant").mkdir(parents=True)
    for name in ("table.bin", "images/ant/0.png", "images/ant/1.png"):
        (folder / name).write_text(f"{name} " * 20)
    (folder / ".lock").touch()
    write_manifest(folder, {"fingerprint": folder.name, "facts": {}}, marks_of(folder))
    return folder


def test_the_manifest_lists_every_file_and_sealed_ones_are_not_read_again(tmp_path: Path, reads: list[str]) -> None:
    folder = finished(tmp_path / "0123")
    assert (len(reads), "shard-0.bin" in reads) == (4, False)  # the shard under the name that it was written under
    found = integrity.read_manifest(folder)["files"]
    assert list(found) == ["images/ant/0.png", "images/ant/1.png", "shard-0.bin", "table.bin"]
    assert all(found[name] == mark(folder / name) for name in found)
    assert found["shard-0.bin"].split()[0] == "300"


def test_files_that_nobody_touched_are_not_read(tmp_path: Path, reads: list[str]) -> None:
    folder = finished(tmp_path / "0123")
    reads.clear()
    for _ in range(3):
        assert check(folder) == ({"fingerprint": "0123", "facts": {}}, [])
    assert reads == []


def test_files_that_were_touched_are_read_once(tmp_path: Path, reads: list[str]) -> None:
    folder = finished(tmp_path / "0123")
    os.utime(folder / "table.bin", ns=(1, 1))
    reads.clear()
    for _ in range(3):
        assert check(folder)[1] == []
    assert len(reads) == 4


@pytest.mark.parametrize("name", ["shard-0.bin", "table.bin", "images/ant/1.png"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_undone(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    folder = finished(tmp_path / "0123")
    before = (folder / name).read_bytes()
    damage(folder / name)
    (found,) = check(folder)[1]
    assert found.startswith(f"{name} ")
    (folder / name).write_bytes(before)
    assert check(folder)[1] == []


@pytest.mark.parametrize("damage", [one for name, one in DAMAGES.items() if name != "missing"])
def test_a_damaged_manifest_is_named_with_the_command_that_mends_it(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = finished(tmp_path / "a b" / "0123")
    damage(folder / MANIFEST)
    with pytest.raises(UserError, match="is damaged") as caught:
        check(folder)
    assert str(caught.value).endswith(mend(folder))
    assert f"rm '{folder / MANIFEST}'" == mend(folder)
    assert "\n" not in str(caught.value)


def test_a_changed_fact_is_noticed_and_another_stages_manifest_too(tmp_path: Path) -> None:
    folder, other = finished(tmp_path / "0123"), finished(tmp_path / "4567")
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"facts": {}', '"facts": {"images": 7}'))
    for content in (None, (other / MANIFEST).read_text()):
        if content:
            (folder / MANIFEST).write_text(content)
        with pytest.raises(UserError, match="it is not what was written"):
            check(folder)
