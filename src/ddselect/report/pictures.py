"""Pictures as data URIs, so that the page is one file; and which classes have room on it."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SHARP = 64  # pixels: up to this side an image is shown pixel by pixel, above it as a thumbnail
_THUMBNAIL = 160  # pixels
_CLASSES = 20  # of a dataset with more, this many are shown: ImageNet-1K would make a page of gigabytes


def shown_classes(count: int) -> list[int]:
    """The classes that the page shows: all of a few, else evenly spread ones."""
    return list(range(count)) if count <= _CLASSES else [i * count // _CLASSES for i in range(_CLASSES)]


def thumbnail_size(view: int) -> int:
    """Side in pixels at which a square image of this side is inlined."""
    return min(view, _THUMBNAIL)


def inline_array(pixels: np.ndarray) -> str:
    """A data URI of (H, W, 3) uint8: PNG of what is shown pixel by pixel, JPEG of photographs."""
    return _inline(Image.fromarray(pixels))


def inline_file(path: Path) -> str:
    """A data URI of a PNG file, made smaller where it is larger than a thumbnail."""
    with Image.open(path) as image:
        if max(image.size) <= SHARP and image.format == "PNG":
            return _uri("png", path.read_bytes())
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BICUBIC)
        return _inline(image.convert("RGB"))


def _inline(image: Image.Image) -> str:
    buffer = BytesIO()
    if max(image.size) <= SHARP:
        image.save(buffer, "PNG")
        return _uri("png", buffer.getvalue())
    image.save(buffer, "JPEG", quality=88, subsampling=0)
    return _uri("jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
