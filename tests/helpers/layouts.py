"""Miniature copies of published datasets: their own folders and file names, a few small images of each class."""

import io
import pickle
import shutil
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from ddselect.dataset.classes import class_list

DEVKIT = Path("ILSVRC2012_devkit_t12") / "data"
KAGGLE = Path("ILSVRC") / "Data" / "CLS-LOC"


def shade(number: int) -> np.ndarray:
    """The colour of a class, (3,) uint8."""
    return np.array([40 + 7 * number % 160, 40 + 53 * number % 160, 40 + 97 * number % 160], np.uint8)


def write_jpeg(path: Path, number: int, seed: int, size: tuple[int, int] = (20, 16)) -> None:
    """An image of a class: its colour with some noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-9, 10, (size[1], size[0], 3))
    Image.fromarray((shade(number) + noise).astype(np.uint8)).save(path, format="jpeg", quality=95)


def write_training(root: Path, wnids: Sequence[str], per_class: int = 2, size: tuple[int, int] = (20, 16)) -> Path:
    """``<root>/<WNID>/<WNID>_<number>.JPEG``; the colours are those of the sorted WNIDs."""
    for number, wnid in enumerate(sorted(wnids)):
        for image in range(per_class):
            write_jpeg(root / wnid / f"{wnid}_{image + 10}.JPEG", number, 1000 * number + image, size)
    return root


def write_validation(root: Path, wnids: Sequence[str], size: tuple[int, int] = (20, 16)) -> list[str]:
    """``<root>/ILSVRC2012_val_00000001.JPEG`` ..., one image of each class in an order of its own; its WNIDs."""
    ordered = sorted(wnids)
    truth = [int(k) for k in np.random.default_rng(7).permutation(len(ordered))]
    for place, number in enumerate(truth, start=1):
        write_jpeg(root / f"ILSVRC2012_val_{place:08d}.JPEG", number, 10**6 + place, size)
    return [ordered[number] for number in truth]


def write_devkit(folder: Path, wnids: Sequence[str], truth: Sequence[str]) -> Path:
    """The two files of the devkit's ``data/``; ILSVRC's ids are not in the order of the WNIDs, and go beyond them."""
    folder.mkdir(parents=True)
    ids = {wnid: number for number, wnid in enumerate(sorted(wnids, reverse=True), start=1)}
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{ids[wnid]}\n" for wnid in truth))
    fields = [(name, "O") for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")]
    rows = [(number, wnid, f"thing {number}, item", "a thing", 0, np.array([])) for wnid, number in ids.items()]
    rows.append((len(ids) + 1, "n00001740", "entity", "all of it", 2, np.array([1, 2])))
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=fields).reshape(-1, 1)})
    return folder


def write_imagenet(root: Path, wnids: Sequence[str], per_class: int = 2, size: tuple[int, int] = (20, 16)) -> Path:
    """As the archives of image-net.org unpack: class folders, a flat validation set, the devkit."""
    write_training(root / "train", wnids, per_class, size)
    write_devkit(root / DEVKIT, wnids, write_validation(root / "val", wnids, size))
    return root


def write_kaggle(root: Path, wnids: Sequence[str]) -> Path:
    """As Kaggle's archive of ImageNet-1K unpacks."""
    write_training(root / KAGGLE / "train", wnids)
    truth = write_validation(root / KAGGLE / "val", wnids)
    lines = [f"ILSVRC2012_val_{k:08d},{wnid} 1 2 15 14 {wnid} 3 4 9 9 \n" for k, wnid in enumerate(truth, start=1)]
    (root / "LOC_val_solution.csv").write_text("".join(["ImageId,PredictionString\n", *reversed(lines)]))
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} thing of {wnid}, item\n" for wnid in wnids))
    return root


def write_subset(root: Path, name: str) -> Path:
    """As fast.ai's archives unpack: class folders for both splits and a table of noisy labels."""
    for split in ("train", "val"):
        write_training(root / split, class_list(name))
    (root / f"noisy_{name}.csv").write_text("path,noisy_labels_0,is_valid\n")
    return root


def write_pieces(root: Path, name: str) -> Path:
    """As Kaggle's archive of ImageNet-100 unpacks: the training classes in four pieces."""
    wnids = class_list(name)
    write_training(root / "all", wnids)
    for number, wnid in enumerate(wnids):
        piece = root / f"train.X{number % 4 + 1}"
        piece.mkdir(exist_ok=True)
        shutil.move(root / "all" / wnid, piece / wnid)
    (root / "all").rmdir()
    write_training(root / "val.X", wnids)
    return root


def write_tiny_imagenet(root: Path, wnids: Sequence[str]) -> Path:
    """As tiny-imagenet-200.zip unpacks."""
    for number, wnid in enumerate(sorted(wnids)):
        for image in range(2):
            name = f"{wnid}_{image}.JPEG"
            write_jpeg(root / "train" / wnid / "images" / name, number, 10 * number + image, (64, 64))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
    lines = []
    for place, number in enumerate(np.random.default_rng(3).permutation(len(wnids)).tolist()):
        write_jpeg(root / "val" / "images" / f"val_{place}.JPEG", number, 10**6 + place, (64, 64))
        lines.append(f"val_{place}.JPEG\t{sorted(wnids)[number]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    write_jpeg(root / "test" / "images" / "test_0.JPEG", 0, 5)
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    words = [f"{wnid}\tname of {wnid}, other name\n" for wnid in ("n00001740", *wnids)]
    (root / "words.txt").write_text("".join(words))
    return root


def cifar_images(classes: int, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and images (N, 32, 32, 3) uint8 in the colours of their classes, in an order of their own."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(classes), per_class))
    colours = np.stack([shade(number) for number in range(classes)])[labels][:, None, None]
    return labels, (colours + random.integers(-9, 10, (len(labels), 32, 32, 3))).astype(np.uint8)


def write_cifar(root: Path, classes: int, version: str, packed: bool, per_class: int = 5) -> Path:
    """CIFAR-10 or CIFAR-100 in the ``binary`` or the ``python`` version, with one test image of each class."""
    name = f"cifar-{classes}"
    folder = root / {"binary": f"{name}-{'batches-bin' if classes == 10 else 'binary'}",
                     "python": f"{name}-{'batches-py' if classes == 10 else 'python'}"}[version]  # fmt: skip
    folder.mkdir(parents=True)
    labels, images = cifar_images(classes, per_class, 1)
    batches = [f"data_batch_{k}" for k in range(1, 6)] if classes == 10 else ["train"]
    parts = zip(batches, np.array_split(labels, len(batches)), np.array_split(images, len(batches)), strict=True)
    test = ("test_batch" if classes == 10 else "test", *cifar_images(classes, 1, 2))
    for file, of_images, pixels in [*parts, test]:
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(of_images), -1)
        if version == "binary":
            before = of_images[:, None] if classes == 10 else np.stack([of_images // 5, of_images], 1)
            (folder / f"{file}.bin").write_bytes(np.concatenate([before.astype(np.uint8), rows], 1).tobytes())
        else:
            key = b"labels" if classes == 10 else b"fine_labels"
            (folder / file).write_bytes(
                python2_pickle({b"batch_label": b"a batch", key: of_images.tolist(), b"data": rows})
            )
    if packed:
        with tarfile.open(root / f"{name}-{version}.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
        shutil.rmtree(folder)
    return root


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes as Python 2 wrote its strings, and NumPy's functions under their names of then."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined] # noqa: RUF012

    def save_string(self, text: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_string

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)


def python2_pickle(value: object) -> bytes:
    """A pickle as Python 2 wrote it with NumPy of its time."""
    file = io.BytesIO()
    _Python2Pickler(file, 2).dump(value)
    return file.getvalue()


def write_shards(root: Path, source: Path, split: str, style: str, shards: int = 2) -> Path:
    """``<root>/<split>-00000.tar`` ... of the images of ``<source>/<class>/*``, dealt to the shards in turn.

    ``style`` is how a sample says its class: by ``number`` or ``name`` in a .cls file, or by its ``folder``.
    """
    root.mkdir(parents=True, exist_ok=True)
    classes = sorted(folder.name for folder in source.iterdir())
    files = sorted(source.glob("*/*"))
    for shard in range(shards):
        with tarfile.open(root / f"{split}-{shard:05d}.tar", "w") as archive:
            for number, file in list(enumerate(files))[shard::shards]:
                name = file.parent.name
                key = f"{name}/{file.stem}" if style == "folder" else f"{number:06d}"
                said = {"number": str(classes.index(name)), "name": name, "folder": ""}[style]
                for suffix, content in ((".cls", said.encode()), (".jpg", file.read_bytes()), (".json", b"{}")):
                    if content:
                        entry = tarfile.TarInfo(key + suffix)
                        entry.size = len(content)
                        archive.addfile(entry, io.BytesIO(content))
    return root
