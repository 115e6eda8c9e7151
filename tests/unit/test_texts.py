"""Text files as editors of all systems write them: read, or refused in one line."""

import io
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from ddselect.dataset.class_files import read_names
from ddselect.dataset.ground_truth import read_annotations
from ddselect.dataset.layout import subfolders
from ddselect.dataset.shards import _numbered, _samples
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import NotTextError, decode, read_text
from ddselect.teacher.pretrained import _named_columns

TEXT = "crème\nbrûlée\n"
READ = [
    TEXT.encode(),
    TEXT.replace("\n", "\r\n").encode(),
    TEXT.replace("\n", "\r").encode(),
    b"\xef\xbb\xbf" + TEXT.encode(),
    TEXT.encode("utf-16"),
    b"\xff\xfe" + TEXT.encode("utf-16-le"),
    b"\xfe\xff" + TEXT.encode("utf-16-be"),
    TEXT.encode("utf-32"),
    b"\xff\xfe\x00\x00" + TEXT.encode("utf-32-le"),
    b"\x00\x00\xfe\xff" + TEXT.encode("utf-32-be"),
]
REFUSED = [TEXT.encode("latin-1"), TEXT.encode("cp1252"), TEXT.encode("utf-16-le"), TEXT.encode("mac-roman"), b"\x00"]


@pytest.mark.parametrize("data", READ)
def test_every_encoding_that_can_be_told_is_read(data: bytes) -> None:
    assert decode(data) == TEXT


@pytest.mark.parametrize("data", REFUSED)
def test_any_other_is_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(NotTextError, match=r"list\.txt: .*save the file as UTF-8") as caught:
        read_text(tmp_path / "list.txt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", READ)
def test_every_list_is_read_so(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(data)
    assert _numbered(tmp_path) == ["crème", "brûlée"]
    assert _named_columns(tmp_path / "classes.txt", 2, ["brûlée", "crème"]) == [1, 0]


@pytest.mark.parametrize("data", REFUSED)
def test_every_list_is_refused_so(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(data)
    (tmp_path / "names.csv").write_bytes(data)
    for read in (
        lambda: _numbered(tmp_path),
        lambda: _named_columns(tmp_path / "classes.txt", 2, []),
        lambda: read_annotations(tmp_path / "classes.txt"),
        lambda: read_names(str(tmp_path / "names.csv"), ["a"]),
    ):
        with pytest.raises(UserError, match="UTF-8"):
            read()


def _shard(path: Path, *members: tuple[bytes, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for name, data in members:
            member = tarfile.TarInfo(os.fsdecode(name))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_member_whose_name_is_not_unicode_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.tar: the file name .*caf.xe9.*is not Unicode"):
        _samples(_shard(tmp_path / "a.tar", (b"caf\xe9/1.jpg", b"x")), Counter())


def test_a_class_of_a_sample_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.tar/1\.cls: line 1 is not UTF-8"):
        _samples(_shard(tmp_path / "a.tar", (b"1.jpg", b"x"), (b"1.cls", b"caf\xe9")), Counter())


def test_a_class_folder_whose_name_is_not_unicode_is_one_line(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH102
    with pytest.raises(UserError, match=r"the folder name .*caf.xe9.*is not Unicode"):
        subfolders(tmp_path)
