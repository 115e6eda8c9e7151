"""A distilled set as a folder: of class folders, or of tars in the form of WebDataset; whole or absent."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddselect.composition.card import README, TAG, card_text
from ddselect.composition.distilled import METADATA
from ddselect.export.finding import Found
from ddselect.relabel.settings import DESCRIPTION
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import atomic, read_json, read_text, write_text
from ddselect.runtime.integrity import MANIFEST
from ddselect.runtime.seeds import numpy_generator

Member = tuple[str, bytes]


@contextmanager
def whole_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Gives an empty folder beside ``folder``; on success it takes that one's place, on failure it is removed.

    That one must not exist or be empty, or with ``overwrite`` hold an earlier export, which goes.

    Raises:
        UserError: The place is taken.
    """
    folder = folder.expanduser().absolute()
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    if old.exists() and not folder.exists():  # left by a kill between the two renames below
        old.rename(folder)
    taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if taken and not _is_export(folder):
        raise UserError(f"{folder} exists and is no earlier export; choose another folder with --to")
    if taken and not overwrite:
        raise UserError(f"{folder} holds an earlier export; add --overwrite to replace it, or choose another folder")
    shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted export
    try:
        partial.mkdir(parents=True)
        yield partial
        os.sync()
        if taken:
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _is_export(folder: Path) -> bool:
    """Whether a folder was made by an export: its card says so, and it is no part of a store."""
    card = folder / README
    if (folder.parent / MANIFEST).exists():
        return False
    return card.is_file() and f"\n- {TAG}\n" in card.read_text("utf-8", errors="replace").partition("\n---\n")[0] + "\n"


def write_folder(found: Found, folder: Path) -> None:
    """Copies the images, ``metadata.jsonl`` and the labels, and writes the card.

    torchvision's ImageFolder and the library ``datasets`` read it.
    """
    for name in found.card.folders:
        shutil.copytree(found.root / name, folder / name, copy_function=shutil.copyfile)
    shutil.copyfile(found.root / METADATA, folder / METADATA)
    _write_rest(found, folder)


def _write_rest(found: Found, folder: Path, shards: int = 0) -> None:
    """Copies the labels, if there are any, with what is told of them, and writes the card."""
    for path in sorted(found.labels.glob("[!.]*")) if found.labels else ():
        if path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)
    labels = read_json(found.labels / DESCRIPTION) if found.labels else None
    write_text(folder / README, card_text(found.card, shards, labels))


def write_tars(found: Found, folder: Path, limit: int) -> None:
    """Writes ``train-000000.tar`` and so on, the labels and the card.

    A sample's name is its number in ``metadata.jsonl``; samples lie shuffled, the same way every time, so that a shard
    has images of all classes. The same set gives the same bytes. A tar has at most ``limit`` bytes; a sample that is
    larger gets one of its own.
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
    _write_rest(found, folder, shards)


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
    lines = read_text(found.root / METADATA).splitlines()
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
