"""Pictures as data URIs, so that the page is one file, and how large and how many they may be."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

SHARP = 64  # pixels: up to this side an image is shown pixel by pixel, above it as a thumbnail
COLUMNS = 10  # images in a line of a sheet


@dataclass(frozen=True)
class Detail:
    """How much the page shows of each class."""

    side: int  # side of a thumbnail in pixels
    quality: int  # WebP's, 1 to 100. At 100 images that are no larger than ``SHARP`` are kept without loss.
    images: int  # most distilled images of a selection
    examples: int  # most training images with their map, box and patch
    rivals: bool = True  # whether the distilled images of the selections that the run did not choose are shown too
    origins: bool = True  # whether it says where each patch comes from


def details(images: int, examples: int) -> list[Detail]:
    """From all that is asked for to what 1000 classes have room for: pictures get smaller first, then fewer."""
    return [
        Detail(160, 100, images, examples),
        Detail(112, 75, images, examples),
        Detail(80, 65, images, min(examples, 2)),
        Detail(56, 60, images, min(examples, 1), origins=False),
        Detail(40, 55, min(images, 10), min(examples, 1), origins=False),
        Detail(28, 45, min(images, 10), min(examples, 1), origins=False),
        Detail(32, 50, min(images, 10), min(examples, 1), rivals=False, origins=False),
        Detail(24, 40, min(images, 10), min(examples, 1), rivals=False, origins=False),
        Detail(16, 35, min(images, 10), min(examples, 1), rivals=False, origins=False),
    ]


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """A square image, made smaller where it is larger than a thumbnail."""
    if image.width <= side:
        return image
    return image.resize((side, side), Image.Resampling.BICUBIC)


def inline(image: Image.Image, detail: Detail) -> str:
    """A data URI of an image or of a sheet of images."""
    lossless = detail.quality == 100 and min(image.size) <= SHARP
    return uri(image, lossless, min(detail.quality, 85))


def uri(image: Image.Image, lossless: bool, quality: int = 75) -> str:
    """A data URI in WebP, which is the smallest of those that every browser shows."""
    buffer = BytesIO()
    image.save(buffer, "WEBP", lossless=lossless, quality=quality, method=6)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def sheet(images: Sequence[Image.Image]) -> Image.Image:
    """Images (at least one, all as large as the first) in lines of ``COLUMNS``, in order, with clear gaps between."""
    side, columns = images[0].width, min(COLUMNS, len(images))
    gap = max(1, side // 16)
    step = side + gap
    canvas = Image.new("RGBA", (columns * step - gap, -(-len(images) // columns) * step - gap))
    for number, image in enumerate(images):
        canvas.paste(image, (number % columns * step, number // columns * step))
    return canvas
