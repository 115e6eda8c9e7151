"""A distilled set as tars in the form of WebDataset: each sample an image, its class and what is told of it."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ddselect.composition.card import README, card_text
from ddselect.composition.distilled import METADATA
from ddselect.export.finding import Found
from ddselect.export.labels import copy_labels, described
from ddselect.runtime.files import atomic, write_text
from ddselect.runtime.seeds import numpy_generator

Member = tuple[str, bytes]


def write_tars(found: Found, folder: Path, limit: int) -> None:
    """Writes ``train-000000.tar`` and so on, the labels and the card.

    A sample's name is its number in ``metadata.jsonl``; samples lie shuffled, the same way every time, so that a shard
    has images of all classes. The same set gives the same bytes.

    Args:
        found: The distilled set.
        folder: Where to.
        limit: Most bytes of a tar; a sample that is larger by itself gets one of its own.
    """
    shards = 0
    for shards, samples in enumerate(_packed(found, limit), 1):
        with (
            atomic(folder / f"train-{shards - 1:06d}.tar") as path,
            tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for name, data in samples:
                about = tarfile.TarInfo(name)
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
    copy_labels(found, folder)
    write_text(folder / README, card_text(found.card, shards, described(found)))


def _packed(found: Found, limit: int) -> Iterator[list[Member]]:
    """The members of each tar."""
    shard: list[Member] = []
    for sample in _samples(found):
        if shard and _tar_bytes(shard + sample) > limit:
            yield shard
            shard = []
        shard += sample
    yield shard


def _samples(found: Found) -> Iterator[list[Member]]:
    """The members of each sample."""
    lines = (found.root / METADATA).read_text().splitlines()
    for number in numpy_generator("tars").permutation(len(lines)).tolist():
        entry = json.loads(lines[number])
        name, image = f"{number:08d}", (found.root / entry["file_name"]).read_bytes()
        yield [
            (f"{name}.png", image),
            (f"{name}.cls", str(entry["label"]).encode()),
            (f"{name}.json", lines[number].encode()),
        ]


def _tar_bytes(members: list[Member]) -> int:
    """Size of a tar: a block before each file, whole blocks, two empty ones at the end, in whole records."""
    blocks = sum(1 + -(-len(data) // tarfile.BLOCKSIZE) for _, data in members) + 2
    return -(-blocks * tarfile.BLOCKSIZE // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
