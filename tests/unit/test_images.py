"""Reading square views and boxes of files of any mode and size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddselect.dataset.images import Source, read_image, source_to_view, square_box, view_to_source
from ddselect.runtime.errors import UserError
from tests.helpers.data import picture


@pytest.mark.parametrize(
    ("size", "box"), [((40, 28), (6, 0, 34, 28)), ((25, 36), (0, 5, 25, 30)), ((8, 8), (0, 0, 8, 8))]
)
def test_square_box_is_the_largest_centred_square(size: tuple[int, int], box: tuple[int, ...]) -> None:
    assert square_box(*size) == box


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA", "CMYK"])
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = picture(20, 20, "RGBA").convert("LA") if mode == "LA" else picture(20, 20, mode)
    image.save(path)
    pixels = read_image(Source(path), None, 20)
    assert pixels.shape == (3, 20, 20)
    assert pixels.dtype == torch.uint8
    if mode in ("RGBA", "LA"):
        clear = np.array(image.convert("RGBA")).astype(float)
        share = clear[..., 3:] / 255
        np.testing.assert_allclose(pixels.permute(1, 2, 0), clear[..., :3] * share + 255 * (1 - share), atol=1)
    else:
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.array(image.convert("RGB")))
    assert pixels.float().std() > 10


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = picture(8, 8, "P")
    image.save(tmp_path / "p.png", transparency=0)
    expected, clear = np.array(image.convert("RGB")), np.array(image) == 0
    assert clear.any()
    expected[clear] = 255
    assert np.array_equal(read_image(Source(tmp_path / "p.png"), None, 8).permute(1, 2, 0).numpy(), expected)


def test_a_box_of_the_wanted_size_is_copied_exactly(tmp_path: Path) -> None:
    image = picture(40, 28)
    image.save(tmp_path / "i.png")
    pixels = read_image(Source(tmp_path / "i.png"), (7, 3, 23, 19), 16)
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.array(image)[3:19, 7:23])


@pytest.mark.parametrize("size", [5, 16, 33])
def test_only_the_box_is_seen(tmp_path: Path, size: int) -> None:
    pixels = np.full((40, 60, 3), 255, dtype=np.uint8)
    pixels[10:30, 20:40] = (10, 100, 200)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    read = read_image(Source(tmp_path / "i.png"), (20, 10, 40, 30), size)
    assert (read == torch.tensor([10, 100, 200]).view(3, 1, 1)).all()


def test_a_box_lands_where_it_belongs(tmp_path: Path) -> None:
    """Four colours in the quarters of a box stay in the quarters of the result."""
    pixels, colours = np.zeros((40, 60, 3), dtype=np.uint8), np.array([[30, 90], [150, 210]])
    pixels[8:32, 18:42, :] = np.kron(colours, np.ones((12, 12)))[..., None]
    Image.fromarray(pixels).save(tmp_path / "i.png")
    for size in (24, 48):
        read = read_image(Source(tmp_path / "i.png"), (18, 8, 42, 32), size)[0]
        quarter, half = size // 4, size // 2
        assert read[quarter::half, quarter::half].tolist() == colours.tolist()


def test_shrinking_averages(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(np.repeat(board[..., None], 3, 2).astype(np.uint8)).save(tmp_path / "i.png")
    read = read_image(Source(tmp_path / "i.png"), None, 8)
    assert (read.float() - 127.5).abs().max() < 6  # antialiased: no single pixel is picked


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (500, 375), (40, 90)])
def test_view_and_source_are_inverse(size: tuple[int, int]) -> None:
    boxes = np.array([[0, 0, 16, 16], [8, 4, 24, 20], [16, 16, 32, 32], [0, 0, 32, 32]])
    source = view_to_source(boxes, *size, 32)
    assert source.dtype == np.int32
    half_pixel = 0.5 * 32 / min(size)
    np.testing.assert_allclose(source_to_view(source, *size, 32), boxes, atol=half_pixel + 1e-9)
    assert tuple(source[-1]) == square_box(*size)
    assert (source[:, :2] >= 0).all()
    assert (source[:, 2:] <= size).all()


def test_view_to_source_by_hand() -> None:
    """A 100 x 60 image: the square is x 20 to 80; a view of 30 pixels has 2 source pixels each."""
    assert view_to_source(np.array([[5, 10, 15, 20]]), 100, 60, 30).tolist() == [[30, 20, 50, 40]]
    assert source_to_view(np.array([[30, 20, 50, 40]]), 100, 60, 30).tolist() == [[5, 10, 15, 20]]


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, None])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: unreadable image.*dataset.broken=skip"):
        read_image(Source(path), None, 8)


def test_truncated_jpeg_is_never_half_an_image(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    picture(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"half.jpg: unreadable image \(.*truncated"):
        read_image(Source(path), None, 8)


def test_sixteen_bit_grey_keeps_its_contrast(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)).save(tmp_path / "deep.png")
    assert read_image(Source(tmp_path / "deep.png"), None, 8).float().mean().item() == pytest.approx(127.5, abs=2)
