"""How fast a JPEG becomes a view of 256 pixels, and what a coarse decode changes, in ways that take turns.

    python experiments/decoding/bench.py

The images are two photographs that come with scikit-learn, cut to 4:3, resized, and given grain. Writes results.json
beside this file. Rates depend on the machine; the ratios are the finding.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import InterpolationMode, resize

from ddselect.dataset import images
from ddselect.dataset.images import Source, cut_image, decode_image, read_bytes, read_image, square_box
from ddselect.runtime.environment import capture_environment

VIEW = 256
SIZES = {"500 x 375": ((500, 375), 40), "4000 x 3000": ((4000, 3000), 4)}  # pixels, images in a round
ROUNDS = 15


def write_images(folder: Path, size: tuple[int, int], count: int) -> list[Source]:
    """JPEGs of the two photographs, each with grain of its own."""
    sources = []
    for number in range(count):
        photo = Image.fromarray(load_sample_images().images[number % 2])
        photo = photo.crop((0, 0, 4 * photo.height // 3, photo.height)).resize(size, Image.Resampling.LANCZOS)
        grain = np.random.default_rng(number).normal(0, 4, (size[1], size[0], 1))
        path = folder / f"{size[0]}-{number}.jpg"
        Image.fromarray((np.asarray(photo) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        sources.append(Source(path))
    return sources


def whole(source: Source) -> Tensor:
    """Every pixel decoded by Pillow, then resized by torch."""
    return cut_image(decode_image(source), None, VIEW)


def pillow(source: Source) -> Tensor:
    """Pillow's decoder and its bicubic filter."""
    image = decode_image(source)
    view = image.crop(square_box(*image.size)).resize((VIEW, VIEW), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return torch.from_numpy(np.array(view)).permute(2, 0, 1)


def coarse(finer: int) -> Callable[[Source], Tensor]:
    """Decoded so coarsely that it is still ``finer`` times as fine as the view."""

    def read(source: Source) -> Tensor:
        images._FINER = finer
        return read_image(source, None, VIEW)

    return read


def torchvision(source: Source) -> Tensor:
    """The decoder of torchvision and its antialiased bicubic filter."""
    data = torch.frombuffer(bytearray(read_bytes(source)), dtype=torch.uint8)
    pixels = decode_jpeg(data, ImageReadMode.RGB)
    x0, y0, x1, y1 = square_box(pixels.shape[2], pixels.shape[1])
    return resize(pixels[:, y0:y1, x0:x1], [VIEW, VIEW], InterpolationMode.BICUBIC, antialias=True)


WAYS: dict[str, Callable[[Source], Tensor]] = {
    "Pillow": pillow,
    "torchvision": torchvision,
    "Pillow, resized by torch": whole,
    "the same, decoded 3 times as fine as the view or finer": coarse(3),
    "the same, decoded 2 times as fine as the view or finer (used)": coarse(2),
}


def main() -> None:
    """Times every way on the same images in turn."""
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for title, (size, count) in SIZES.items():
            sources = write_images(Path(name), size, count)
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way, read in WAYS.items():
                    start = time.perf_counter()
                    for source in sources:
                        read(source)
                    seconds[way].append((time.perf_counter() - start) / count)
            exact = [whole(source).float() for source in sources]
            first, rows = seconds["Pillow"], {}
            for way, read in WAYS.items():
                off = torch.stack([(read(s).float() - e).abs() for s, e in zip(sources, exact, strict=True)])
                ratio = median(a / b for a, b in zip(first, seconds[way], strict=True))
                rate = round(1 / median(seconds[way]), 1)
                rows[way] = {"images_per_second": rate, "ratio": round(ratio, 2)}
                rows[way] |= {"mean_difference": round(float(off.mean()), 2), "largest": int(off.max())}
                print(title, way, rows[way], flush=True)
            found[title] = rows
    result = {"view": VIEW, "rounds": ROUNDS, "rows": found, "environment": capture_environment()}
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
