"""Reading images: a square view of a file, or a box of it, at the wanted size.

What a file holds, not what its name ends with, decides whether and how it is read (:mod:`ddselect.dataset.formats`).
Boxes are always in the pixels of the whole, upright image. What becomes of what:

| file | pixels |
|---|---|
| turned by EXIF orientation | upright, sizes and boxes too |
| grey, palette, CMYK (as Adobe writes it, inverted, in a JPEG) | RGB; colour profiles are not applied |
| transparent: alpha channel, or a transparent colour or palette entry | on white |
| 16 bits a channel | the upper 8 |
| animated GIF, PNG, WebP, AVIF; several pictures or pages in one file | the first |
| one pixel, or much longer than wide | as any other: the largest centred square, enlarged if need be |
| cut off | unreadable |
| empty, no image, of another format | unreadable if it is named as a picture, else left out |
| a camera's raw photograph, a film's thumbnail (.thm) | left out |
| 32 bits a channel (integers or floats), whose range nobody knows | unreadable |
| more than 178 956 970 pixels, which could fill the memory | unreadable, by its header |

All that Pillow reads by itself is read: JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF, PPM, JPEG 2000, TGA and others, but not
what needs other programs (EPS, WMF). TGA has no mark of its own and goes by its suffix. A JPEG that is several times
larger than the view asked for is decoded at a half, a quarter or an eighth of its size, which takes a fraction of the
time and changes the view a little, always in the same way (``experiments/decoding``). Patches and features are cut from
the whole decoded image.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ddselect.dataset.formats import HEAD, begins_as_picture, formats_of, is_named_as_picture
from ddselect.dataset.remote import RemotePath
from ddselect.runtime.errors import UserError, one_line

VERSION = 2  # of the pixels that a file gives

Box = tuple[int, int, int, int]

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FINER = 2  # a JPEG decoded at a part of its size still has this many times the pixels of the view along a side
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of what is refused is still read
warnings.filterwarnings("ignore", "Corrupt EXIF data")  # the pixels are sound


class BrokenImageError(Exception):
    """Why some bytes are no image, in a few words."""


class NoPictureError(BrokenImageError):
    """The same of bytes that do not even begin as an image: of a file that is named as one, a fault."""


@dataclass(frozen=True)
class Source:
    """Where the bytes of an image lie."""

    path: Path  # the file, or the archive that the image is in
    offset: int = -1  # where in the archive its bytes begin; -1 for a file
    bytes: int = -1  # how many bytes it has there
    member: str = ""  # its name in the archive

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The name of the image's own file."""
        return self.member or self.path.name

    def unreadable(self, reason: object) -> UserError:
        """What to say of it if it cannot be read."""
        return UserError(f"{self}: unreadable image ({reason}); repair or remove it, or set dataset.broken=skip")


def read_bytes(source: Source) -> bytes:
    """The bytes of an image: the one way in which images are read.

    Of a file that is not named as an image and does not begin as one, only the beginning is looked at.

    Raises:
        BrokenImageError: There is nothing to read, or not all of it.
    """
    if isinstance(source.path, RemotePath):
        return _complete(source.path.read_part(source.offset, source.bytes), source)
    try:
        with source.path.open("rb") as file:
            file.seek(max(source.offset, 0))
            head = b""
            if not is_named_as_picture(source.name):
                head = file.read(HEAD if source.offset < 0 else min(HEAD, source.bytes))
                if not begins_as_picture(head, source.name):
                    raise NoPictureError("not an image in a format that is read here")
            data = head + file.read(-1 if source.offset < 0 else source.bytes - len(head))
    except OSError as error:
        raise NoPictureError(error.strerror or str(error)) from None
    return _complete(data, source)


def _complete(data: bytes, source: Source) -> bytes:
    if len(data) < source.bytes:
        raise BrokenImageError(f"its archive ends after {len(data)} of {source.bytes} bytes")
    return data


def square_box(width: int, height: int) -> Box:
    """The largest centred square of an image: x0, y0, x1, y1 in its pixels."""
    side = min(width, height)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return x0, y0, x0 + side, y0 + side


def view_to_source(boxes: np.ndarray, width: int, height: int, view_size: int) -> np.ndarray:
    """Boxes (N, 4) in pixels of the square view to int32 pixels of the upright image."""
    x0, y0, x1, _ = square_box(width, height)
    scale = (x1 - x0) / view_size
    source = np.rint(boxes * scale + np.array([x0, y0, x0, y0])).astype(np.int32)
    source[:, 2:] = np.maximum(source[:, 2:], source[:, :2] + 1)  # a pixel at least, in tiny images too
    return source


def source_to_view(boxes: np.ndarray, width: int, height: int, view_size: int) -> np.ndarray:
    """Boxes (N, 4) in pixels of the upright image to float pixels of the square view."""
    x0, y0, x1, _ = square_box(width, height)
    return (boxes - np.array([x0, y0, x0, y0])) * (view_size / (x1 - x0))


def inspect_image(data: bytes, name: str = "") -> tuple[int, int, int]:
    """Width and height of an upright image in pixels, and the EXIF orientation, 1 (upright) to 8, that makes it so.

    All of it is decoded, if coarsely in a JPEG, so that one that is cut off is found. ``name`` is that of its file.

    Raises:
        BrokenImageError: It cannot be decoded.
    """
    with _opened(data, name) as image:
        width, height = image.size
        orientation, scale = _orientation(image), _coarsen(image, 8)
        upright = _upright(image, orientation)
    if scale == 1:
        return *upright.size, orientation
    return (height, width, orientation) if orientation > 4 else (width, height, orientation)


def decode_image(source: Source) -> Image.Image:
    """The upright pixels of an image of any mode as RGB, as many as it has.

    Raises:
        UserError: It cannot be read.
    """
    with _read(source) as image:
        return _upright(image, _orientation(image))


def cut_image(image: Image.Image, box: Box | None, size: int) -> Tensor:
    """A square part of a decoded image, resized (bicubic, antialiased; in integers, the same on every machine).

    The box is x0, y0, x1, y1 in pixels of the RGB image; None: the largest centred square.
    """
    cut = image.crop(box or square_box(*image.size))  # first, or the filter would reach beyond the box
    pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1)
    if cut.size == (size, size):
        return pixels
    return F.interpolate(pixels[None], (size, size), mode="bicubic", antialias=True)[0]


def read_image(source: Source, box: Box | None, size: int) -> Tensor:
    """A square part of an image for looking at, (3, size, size) uint8; a large JPEG is decoded coarsely.

    The box is x0, y0, x1, y1 in its upright pixels; None: the largest centred square.

    Raises:
        UserError: It cannot be read.
    """
    with _read(source) as image:
        image_size = image.size
        side = min(box[2] - box[0], box[3] - box[1]) if box else min(image_size)
        orientation, scale = _orientation(image), _coarsen(image, side // (_FINER * size))
        width, height = image_size if orientation <= 4 else image_size[::-1]
        upright = _upright(image, orientation)
    if scale > 1:
        x0, y0, x1, y1 = box or square_box(width, height)
        # a side that is no multiple of the scale has a last pixel that is not all image; turning may make it the first
        dx = upright.width - width / scale if orientation in (2, 3, 6, 7) else 0
        dy = upright.height - height / scale if orientation in (3, 4, 7, 8) else 0
        x0, x1 = (min(round(x / scale + dx), upright.width) for x in (x0, x1))
        y0, y1 = (min(round(y / scale + dy), upright.height) for y in (y0, y1))
        box = (x0, y0, x1, y1)
    return cut_image(upright, box, size)


@contextmanager
def _read(source: Source) -> Iterator[Image.Image]:
    try:
        with _opened(read_bytes(source), source.name) as image:
            yield image
    except BrokenImageError as error:
        raise source.unreadable(error) from None


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image whose header is read. Whatever goes wrong with it inside is its own fault: decoders raise anything."""
    if not data:
        raise NoPictureError("the file is empty")
    error: type[BrokenImageError] = NoPictureError
    try:
        with Image.open(BytesIO(data), formats=formats_of(name)) as image:
            error = BrokenImageError
            yield image
    except (BrokenImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise error("not an image in a format that is read here") from None
    except Image.DecompressionBombError as bomb:
        raise BrokenImageError(one_line(bomb)) from None
    except Exception as reason:
        raise error(one_line(reason)) from None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 where there is none or none that makes sense."""
    if image.format == "PNG":
        image.load()  # its EXIF may come after the pixels
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF in a sound image
        return 1
    return int(found) if found in _TURNS else 1


def _coarsen(image: Image.Image, most: int) -> int:
    """Has a JPEG decoded at 1/2, 1/4 or 1/8 of its size, at most 1/``most``; returns 2, 4 or 8, or 1."""
    scale = max((s for s in (2, 4, 8) if s <= most), default=1)
    if scale == 1 or image.draft(None, (max(1, image.width // scale), max(1, image.height // scale))) is None:
        return 1
    return scale


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """The pixels of an opened image, upright, as RGB."""
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        upper = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)  # `convert` would clip instead
        rgb = Image.fromarray(upper).convert("RGB")
    elif image.mode in ("I", "F"):
        raise BrokenImageError("it has 32 bits a channel, whose range is not known; save it with 8 or 16")
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(clear, mask=clear.getchannel("A"))
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    if orientation == 1 or image.format == "TIFF":  # which are turned while they are loaded
        return rgb
    return rgb.transpose(_TURNS[orientation])
