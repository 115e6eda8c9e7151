"""Which files of a class folder are its images: what they hold decides, not what they are called."""

import struct
import tarfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from ddselect.dataset.images import Source, decode_image
from ddselect.dataset.index import build_index, read_index
from ddselect.dataset.shards import TarShardsConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json
from tests.fault.runs import run_here
from tests.helpers.data import folder_dataset, picture, write_folder
from tests.helpers.layouts import write_shards, write_training


def saved(format: str, **how: object) -> bytes:
    """A picture in some format; in those that keep one, another one follows it."""
    file = BytesIO()
    image = picture(16, 16, {"XBM": "1", "MSP": "1"}.get(format, "L" if how.pop("grey", False) else "RGB"))
    if how.get("save_all"):
        how["append_images"] = [Image.new("RGB", (16, 16), "blue")]
    image.save(file, format, **how)
    return file.getvalue()


def large_jpeg() -> bytes:
    file = BytesIO()
    picture(64, 64).save(file, "JPEG")
    return file.getvalue()


SEVERAL = {"save_all": True}
HEIC = struct.pack(">I", 24) + b"ftypheic" + bytes(12) + b"and so on"
IMAGES: dict[str, Callable[[], bytes]] = {
    "UPPER.JPG": lambda: saved("JPEG"),
    "a.jfif": lambda: saved("JPEG"),
    "a.jpe": lambda: saved("JPEG"),
    "a.pgm": lambda: saved("PPM", grey=True),
    "a.pnm": lambda: saved("PPM"),
    "a.avif": lambda: saved("AVIF"),
    "a.jp2": lambda: saved("JPEG2000"),
    "a.tga": lambda: saved("TGA"),
    "A.TGA": lambda: saved("TGA", compression="tga_rle"),
    "a.pcx": lambda: saved("PCX"),
    "a.ico": lambda: saved("ICO"),
    "a.xbm": lambda: saved("XBM"),
    "a.dib": lambda: saved("DIB"),
    "a.sgi": lambda: saved("SGI"),
    "a.mpo": lambda: saved("MPO", **SEVERAL),
    "animated.gif": lambda: saved("GIF", **SEVERAL),
    "animated.png": lambda: saved("PNG", **SEVERAL),
    "animated.webp": lambda: saved("WEBP", **SEVERAL),
    "pages.tif": lambda: saved("TIFF", **SEVERAL),
    "really_a_tiff.jpg": lambda: saved("TIFF"),
    "really_a_jpeg.tga": lambda: saved("JPEG"),
    "without_suffix": lambda: saved("JPEG"),
    "photo.2024": lambda: saved("PNG"),
    "picture.jpg?size=large": lambda: saved("JPEG"),
    "misnamed.txt": lambda: saved("WEBP"),
}
NO_IMAGES: dict[str, Callable[[], bytes]] = {
    "notes.txt": lambda: b"P5 is the name of a game",
    "BMW.md": lambda: b"BM, the beginning of a bitmap",
    "labels.csv": lambda: b"name,class\n",
    "Thumbs.db": lambda: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500),
    "desktop.ini": lambda: b"[.ShellClassInfo]\r\n",
    "Icon\r": lambda: b"",
    "._cat.jpg": lambda: bytes.fromhex("00051607") + bytes(100),
    ".DS_Store": lambda: b"\0\0\0\1Bud1",
    "film.mp4": lambda: struct.pack(">I", 24) + b"ftypisom" + bytes(500),
    "film.thm": lambda: saved("JPEG"),
    "raw.NEF": lambda: saved("TIFF"),
    "photo.heic": lambda: HEIC,
    "drawing.eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "drawing.svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "array.npy": lambda: b"\x93NUMPY" + bytes(100),
    "header.h": lambda: b"#define WIDTH 12\n#define HEIGHT 12\n",
    "zeros": lambda: bytes(1000),
}
DAMAGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", "the file is empty"),
    "page.jpg": (lambda: b"<html>not found</html>", "not an image in a format that is read here"),
    "phone.jpg": (lambda: HEIC, "not an image"),
    "text.tga": (lambda: b"I am a text", "."),
    "cut.jfif": (lambda: large_jpeg()[:-200], "truncated"),
    "cut_without_suffix": (lambda: large_jpeg()[:-200], "truncated"),
    "cut.part": (lambda: saved("PNG")[:-60], "."),
}


def kind(name: str) -> str:
    """What a file that is left out is counted as."""
    return "hidden" if name[0] == "." else Path(name).suffix.lower() or "without suffix"


def class_folder(root: Path) -> Path:
    write_folder(root)
    return root / "train" / "bee"


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_read_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    needed = {"a.avif": "avif", "a.jp2": "jpg_2000"}.get(name)
    if needed and not features.check(needed):
        pytest.skip("Pillow was built without it")
    folder = class_folder(tmp_path / "data")
    (folder / name).write_bytes(IMAGES[name]())
    facts = build_index(folder_dataset(tmp_path / "data"), tmp_path / "work")
    assert (facts["images"], facts["left_out"], facts["unreadable"]) == ({"train": 13, "test": 12}, {}, 0)
    index = read_index(tmp_path / "work", tmp_path / "data")
    row = index.ids.index(f"train/bee/{name}")
    assert index.sizes_at(row) == (16, 16)
    if name != "a.xbm":
        wanted = np.array(picture(16, 16, "L" if name == "a.pgm" else "RGB").convert("RGB"), int)
        found = np.array(decode_image(index.source(row)), int)
        assert np.abs(found - wanted).mean() < 40  # the first of several, and not the blue one


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_left_out_and_counted(name: str, tmp_path: Path) -> None:
    (class_folder(tmp_path / "data") / name).write_bytes(NO_IMAGES[name]())
    facts = build_index(folder_dataset(tmp_path / "data"), tmp_path / "work")
    assert (facts["images"], facts["read"], facts["unreadable"]) == ({"train": 12, "test": 12}, 24, 0)
    assert facts["left_out"] == {kind(name): 1}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_no_file_to_be_left_out(name: str, tmp_path: Path) -> None:
    folder, (content, reason) = class_folder(tmp_path / "data"), DAMAGED[name]
    (folder / name).write_bytes(content())
    with pytest.raises(UserError, match=rf"{name}: unreadable image \(.*{reason}.*\)"):
        build_index(folder_dataset(tmp_path / "data"), tmp_path / "work")
    facts = build_index(folder_dataset(tmp_path / "data", broken="skip", broken_ceiling=0.1), tmp_path / "work")
    assert (facts["left_out"], facts["unreadable"]) == ({}, 1)
    (listed,) = read_json(tmp_path / "work" / "unreadable.json")["files"]
    assert listed["path"] == f"train/bee/{name}"


def test_links_to_nothing(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "data")
    (folder / "list").symlink_to("nowhere")
    assert build_index(folder_dataset(tmp_path / "data"), tmp_path / "w")["left_out"] == {"without suffix": 1}
    (folder / "photo.jfif").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"photo.jfif: unreadable image \(No such file"):
        build_index(folder_dataset(tmp_path / "data"), tmp_path / "w")


def test_no_file_is_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = class_folder(tmp_path / "data")
    for name, content in {**IMAGES, **NO_IMAGES}.items():
        (folder / name).write_bytes(content())
    opened: Counter[str] = Counter()
    known = Path.open

    def counted(path: Path, *how, **more):  # type: ignore[no-untyped-def]
        opened[path.name] += path.is_relative_to(tmp_path / "data")
        return known(path, *how, **more)

    monkeypatch.setattr(Path, "open", counted)
    build_index(folder_dataset(tmp_path / "data"), tmp_path / "work")
    assert len(+opened) == 24 + len(IMAGES) + len(NO_IMAGES) - 2  # hidden ones are not opened at all
    assert set((+opened).values()) == {1}


def test_of_a_long_file_that_is_no_image_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(2**41)  # more than any memory
    with pytest.raises(UserError, match="not an image"):
        decode_image(Source(path))


def test_images_are_counted_by_name_before_any_is_opened(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "data")
    for name in ("a.JFIF", "without_suffix", "notes.txt", "._a.jpg"):
        (folder / name).write_bytes(b"not looked at")
    assert folder_dataset(tmp_path / "data").counts() == {"train": 14, "test": 12}


def test_the_index_says_what_there_is_and_what_it_left_out(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "data")
    for name in ("a.txt", "b.TXT", "Thumbs.db", "._a.jpg", ".DS_Store"):
        (folder / name).write_bytes(b"nothing to see")
    (tmp_path / "data" / "train" / "stray.jpg").write_bytes(saved("JPEG"))
    for _ in range(2):  # also where the index was there before
        ended = run_here(tmp_path, "dataset=imagefolder", f"dataset.root={tmp_path / 'data'}", "stages=[index]")
        assert ended.code == 0, ended.err
        first, second = ended.out.splitlines()[:2]
        assert first == "test 12 images of 3 classes; train 12 images of 3 classes"
        told = second.removeprefix("left out: ").split(", ")
        assert {*told} == {"2 .txt", "1 .db", "2 hidden", "1 .jpg beside class folders"}


@pytest.mark.parametrize("name", ["000.JFIF", "000.jpe", "000", "000.2024", "000.tga", "000.avif"])
def test_shards_hold_images_of_any_name(name: str, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for folder in write_training(tmp_path / "images" / split, ["ant", "bee"]).iterdir():
            file = min(folder.iterdir())
            content = IMAGES["a.tga"]() if name.endswith(".tga") else file.read_bytes()
            file.unlink()
            (folder / name).write_bytes(content)
            (folder / "001.txt").write_text("a caption without its image")
        write_suffixes(tmp_path / "shards", tmp_path / "images" / split, split)
    facts = build_index(TarShardsConfig("shards", 16, root=str(tmp_path / "shards")), tmp_path / "work")
    assert facts["images"] == {"train": 4, "test": 4}
    assert facts["left_out"] == {".txt": 4, "hidden": 2}
    index = read_index(tmp_path / "work", tmp_path / "shards")
    assert {index.decode(row).size for row in range(8)} <= {(20, 16), (16, 16)}


def write_suffixes(root: Path, source: Path, split: str) -> None:
    """A shard of class folders as they lie on a Mac's disk."""
    root.mkdir(exist_ok=True)
    (source / "ant" / "._000.jpg").write_bytes(b"left by a disk")
    with tarfile.open(root / f"{split}-00000.tar", "w") as archive:
        archive.add(source, "")


def test_what_lies_beside_the_image_of_a_sample_is_counted(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_training(tmp_path / "images" / split, ["ant", "bee"])
        write_shards(tmp_path / "shards", tmp_path / "images" / split, split, "name")
    facts = build_index(TarShardsConfig("shards", 16, root=str(tmp_path / "shards")), tmp_path / "work")
    assert (facts["images"], facts["left_out"]) == ({"train": 4, "test": 4}, {".json": 8})
