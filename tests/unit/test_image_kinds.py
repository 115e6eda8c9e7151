"""What becomes of every kind of file: the table in ``ddselect.dataset.images``, a test for each line."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddselect.dataset.images import (
    BrokenImageError,
    Source,
    cut_image,
    decode_image,
    inspect_image,
    read_bytes,
    read_image,
)
from ddselect.runtime.errors import UserError
from tests.helpers.data import picture

ORIENTATION = 0x0112


def pixels(path: Path) -> np.ndarray:
    return np.array(decode_image(Source(path))).astype(int)


def turned(path: Path, orientation: int, size: tuple[int, int] = (40, 24)) -> Image.Image:
    """Writes a picture that is upright once it is turned as its EXIF says, and returns the upright one."""
    upright = picture(*size)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # numbers of Image.Transpose
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    how = {".jpg": {"quality": 95, "subsampling": 0}, ".webp": {"lossless": True}}.get(path.suffix, {})
    stored.save(path, exif=exif, **how)
    return upright


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_everywhere(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    upright = turned(path, orientation)
    assert inspect_image(path.read_bytes()) == (40, 24, orientation)
    assert np.abs(pixels(path) - np.array(upright).astype(int)).mean() < 6
    box = (3, 2, 19, 18)  # in upright pixels, for views and for cutting alike
    cut = np.array(upright.crop(box)).astype(int)
    for read in (read_image(Source(path), box, 16), cut_image(decode_image(Source(path)), box, 16)):
        assert np.abs(read.permute(1, 2, 0).numpy() - cut).mean() < 6


def test_orientation_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 77
    picture(8, 6).save(tmp_path / "a.jpg", exif=exif)
    picture(8, 6).save(tmp_path / "b.jpg", exif=b"Exif\0\0II*\0damaged")
    for name in ("a.jpg", "b.jpg"):
        assert inspect_image((tmp_path / name).read_bytes()) == (8, 6, 1)
        assert decode_image(Source(tmp_path / name)).size == (8, 6)


def test_cmyk_jpeg_as_adobe_inverts_it(tmp_path: Path) -> None:
    picture(16, 16).convert("CMYK").save(tmp_path / "i.jpg", quality=95, subsampling=0)
    data = (tmp_path / "i.jpg").read_bytes()
    assert b"Adobe" in data
    assert np.abs(pixels(tmp_path / "i.jpg") - np.array(picture(16, 16)).astype(int)).mean() < 6


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    picture(16, 16, "L").save(tmp_path / "i.png")
    found = pixels(tmp_path / "i.png")
    assert (found == np.array(picture(16, 16, "L"))[..., None]).all()


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert (pixels(tmp_path / name) == (values >> 8)[..., None]).all()


def deep_colour_png(values: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) uint16, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_keeps_the_upper_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    (tmp_path / "i.png").write_bytes(deep_colour_png(values))
    assert (pixels(tmp_path / "i.png") == values >> 8).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (3, 1), {"RGBA": (200, 40, 0, 255), "LA": (40, 255)}[mode])
    image.putpixel((1, 0), {"RGBA": (200, 40, 0, 0), "LA": (40, 0)}[mode])
    image.putpixel((2, 0), {"RGBA": (200, 40, 0, 51), "LA": (40, 51)}[mode])
    image.save(tmp_path / "i.png")
    opaque, clear, faint = pixels(tmp_path / "i.png")[0]
    assert opaque.tolist() == ([200, 40, 0] if mode == "RGBA" else [40, 40, 40])
    assert clear.tolist() == [255, 255, 255]
    assert np.abs(faint - (0.2 * opaque + 0.8 * 255)).max() <= 1


def test_one_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (1, 2, 3))
    image.save(tmp_path / "i.png", transparency=(1, 2, 3))
    assert pixels(tmp_path / "i.png")[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_the_first_of_several_pictures_counts(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    path = tmp_path / f"i{suffix}"
    first.save(path, save_all=True, append_images=[second], **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert (pixels(path) == [250, 0, 0]).all()


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP", "GIF"])
def test_the_content_decides_not_the_name(tmp_path: Path, format: str) -> None:
    picture(8, 8).save(tmp_path / "i.jpg", format)
    assert decode_image(Source(tmp_path / "i.jpg")).size == (8, 8)


def huge_png() -> bytes:
    """The header of a PNG of 50,000 x 50,000 pixels, and no pixel."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    pack = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pack)


def saved(tmp_path: Path, image: Image.Image, name: str) -> bytes:
    image.save(tmp_path / name)
    return (tmp_path / name).read_bytes()


BROKEN = {
    "empty": (lambda _: b"", "the file is empty"),
    "text": (lambda _: b"I am a text file", "not an image in a format that is read here"),
    "postscript": (lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a format"),
    "bomb": (lambda _: huge_png(), "exceeds limit of 178956970 pixels"),
    "cut png": (lambda p: saved(p, picture(64, 64), "i.png")[:-300], "truncated"),
    "cut jpeg": (lambda p: saved(p, picture(64, 64), "i.jpg")[:-200], "truncated"),
    "header only": (lambda p: saved(p, picture(64, 64), "i.png")[:40], "."),
    "float": (lambda p: saved(p, Image.new("F", (4, 4), 0.5), "i.tif"), "32 bits a channel, whose range is not known"),
    "integer": (lambda p: saved(p, Image.new("I", (4, 4), 9), "i.tif"), "32 bits a channel, whose range is not known"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, kind: str) -> None:
    make, reason = BROKEN[kind]
    data, path = make(tmp_path), tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(BrokenImageError, match=reason):
        inspect_image(data)
    for read in (decode_image, lambda source: read_image(source, None, 8)):
        with pytest.raises(UserError, match=rf"x.jpg: unreadable image \(.*{reason}.*\); repair") as caught:
            read(Source(path))
        assert "0x" not in str(caught.value)  # no address that differs from run to run


def test_a_png_that_breaks_while_its_exif_is_looked_for_stays_broken(tmp_path: Path) -> None:
    data = bytearray(saved(tmp_path, picture(64, 64), "i.png"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BrokenImageError):
        inspect_image(bytes(data))


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (300, 2), (2000, 1)])
def test_tiny_and_long_images_have_views(tmp_path: Path, size: tuple[int, int]) -> None:
    picture(*size).save(tmp_path / "i.png")
    view = read_image(Source(tmp_path / "i.png"), None, 16)
    assert view.shape == (3, 16, 16)
    side, x0, y0 = min(size), (size[0] - min(size)) // 2, (size[1] - min(size)) // 2
    mean = np.array(picture(*size))[y0 : y0 + side, x0 : x0 + side].reshape(-1, 3).mean(0)
    assert np.abs(view.float().mean((1, 2)).numpy() - mean).max() < 6


@pytest.mark.parametrize("name", ["äöü 猫 🐈.png", "a" * 250 + ".png", "with\nnewline.png"])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    picture(8, 8).save(tmp_path / name)
    assert decode_image(Source(tmp_path / name)).size == (8, 8)


def test_a_part_of_an_archive_is_read_in_place(tmp_path: Path) -> None:
    data = saved(tmp_path, picture(8, 8), "i.png")
    (tmp_path / "a.tar").write_bytes(b"before" + data + b"after")
    source = Source(tmp_path / "a.tar", 6, len(data), "cat/1.png")
    assert read_bytes(source) == data
    assert decode_image(source).size == (8, 8)
    (tmp_path / "a.tar").write_bytes(b"before" + data[:50])
    with pytest.raises(UserError, match=r"a.tar/cat/1.png: unreadable image \(its archive ends after 50 of"):
        decode_image(source)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("box", [None, (90, 20, 290, 220)])
def test_a_large_jpeg_is_decoded_coarsely_for_a_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int, box: tuple[int, int, int, int] | None
) -> None:
    """The same part of the picture, a little different, always the same; not for cutting, nor where it is not large."""
    path = tmp_path / "i.jpg"
    upright = turned(path, orientation, (403, 301))
    sizes = []

    def seen(image: Image.Image, *rest: object) -> Tensor:
        sizes.append(max(image.size))
        return cut_image(image, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("ddselect.dataset.images.cut_image", seen)
    source = Source(path)
    for size, decoded in ((45, 202), (160, 403), (16, 101 if box else 51)):
        sizes.clear()
        view, exact = read_image(source, box, size), cut_image(decode_image(source), box, size)
        assert sizes == [decoded]
        assert (view.float() - exact.float()).abs().mean() < 3
        assert torch.equal(view, read_image(source, box, size))
    assert decode_image(source).size == upright.size
    upright.save(tmp_path / "i.png")
    sizes.clear()
    read_image(Source(tmp_path / "i.png"), box, 16)
    assert sizes == [403]
