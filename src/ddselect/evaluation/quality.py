"""How good a distilled set is beside the accuracy that it gives: where its patches lie among the real images."""

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ddselect.composition.distilled import Distilled, class_of, read_distilled
from ddselect.dataset.index import Index, read_index
from ddselect.embed.settings import Embedder
from ddselect.embed.table import EmbedTable
from ddselect.evaluation.localisation import coverage, true_boxes
from ddselect.runtime.stage import Facts, Trial
from ddselect.student.models import Classifier
from ddselect.teacher.card import load_teacher

VERSION = 2
NEIGHBOURS = 5  # k of Naeem et al.
_BATCH = 64  # images


def run(trial: Trial, folder: Path) -> Facts:
    """The quality stage."""
    from ddselect.embed.run import network_of, real_features  # Lightning: seconds to import

    stages, e = trial.stages, trial.experiment
    index = read_index(stages["index"].folder).split("train")
    teacher = load_teacher(stages["teacher"].folder).to(e.trainer.device)
    network, distilled = network_of(trial, teacher), read_distilled(stages["composition"].folder)
    assert network is not None
    return measure_quality(distilled, index, real_features(trial), teacher, network, e.embed.shown(trial.view))


def measure_quality(
    distilled: Distilled,
    index: Index,
    features: EmbedTable,
    teacher: Classifier,
    network: Embedder | None = None,
    side: int | None = None,
) -> dict[str, object]:
    """Quality in features of the teacher or of another network, each value the mean over the classes that have it.

    A stitched image, as it is, lies far from all real ones. So its patches are what is measured, each as a student's
    window on it alone shows it: resized to a whole image.

    ``features`` are those of all training images. Where there is no ``network``, the teacher's are measured; where
    there is no ``side`` in pixels, patches are shown at the size of an image.

    Returns:
        ``quality``: the values of :func:`class_quality` of the patches, and the teacher's mean cross-entropy on them.
        ``localisation``: see :func:`found_regions`.
    """
    embedded, labels, loss = _embed(distilled, teacher, network or teacher, side)
    found = []
    for label in range(len(index.class_names)):
        real = features.read(np.flatnonzero(index.labels == label), "features")["image"]
        found.append(class_quality(real, embedded[labels == label]))
    quality = {name: _mean([values[name] for values in found]) for name in found[0]}
    return {
        "quality": {**quality, "teacher_loss": round(loss, 4)},
        "localisation": found_regions(distilled.metadata, index),
    }


def class_quality(real: np.ndarray, distilled: np.ndarray, neighbours: int = NEIGHBOURS) -> dict[str, float | None]:
    """Values of one class; None where there are too few images to say.

    Coverage and density are those of Naeem et al. ("Reliable fidelity and diversity metrics for generative models",
    ICML 2020). A ball lies around every real image and reaches to its k-th nearest real neighbour (to the farthest one
    in a class of fewer images). A whole image is one of the real ones and always lies in its own ball.

    Features are ``real`` (N, D) of the class's training images and ``distilled`` (M, D) of its patches in the distilled
    set.

    Returns:
        coverage: Share of the balls that hold a patch, 0 to 1: how much of the class is represented.
        density: Balls that hold a patch, on average, divided by k: around 1 or above in the thick of the class, 0
            outside.
        diversity: Mean distance of two patches, divided by that of two real images.
        redundancy: Mean cosine similarity of a patch to the most similar other one, up to 1.
    """
    covered = density = diversity = redundancy = None
    if len(real) > 1:
        among = distances(real, real)
        k = min(neighbours, len(real) - 1)
        reach = np.partition(among, k, axis=1)[:, k]  # the nearest one is the image itself
        inside = distances(real, distilled) <= reach[:, None]
        covered, density = float(inside.any(1).mean()), float(inside.sum() / (k * len(distilled)))
        spread = among.sum() / (len(real) * (len(real) - 1))
        if len(distilled) > 1 and spread > 0:
            diversity = distances(distilled, distilled).sum() / (len(distilled) * (len(distilled) - 1)) / spread
    if len(distilled) > 1:
        unit = distilled / np.maximum(np.linalg.norm(distilled, axis=1, keepdims=True), 1e-12)
        similarity = unit @ unit.T
        np.fill_diagonal(similarity, -np.inf)
        redundancy = float(similarity.max(1).mean())
    return {"coverage": covered, "density": density, "diversity": diversity, "redundancy": redundancy}


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, M) Euclidean distances of points (N, D) and (M, D)."""
    return torch.cdist(torch.from_numpy(one), torch.from_numpy(other)).numpy()


def found_regions(metadata: list[dict[str, Any]], index: Index) -> dict[str, float] | None:
    """How well the selected crops of real images cover the true boxes; None without true boxes or such crops.

    Returns:
        crops: Number of crops, each counted as often as it is used.
        coverage: Mean share of the true box that a crop covers.
        half: Percentage of the crops that cover half of it or more.
    """
    truth = true_boxes(index)
    rows = dict(zip(index.ids, range(len(index)), strict=True))
    patches = [patch for entry in metadata for patch in entry["patches"]]
    crops = [patch for patch in patches if patch["kind"] == "crop" and patch["source"] in rows]
    if truth is None or not crops:
        return None
    shares = coverage(
        np.array([patch["box"] for patch in crops]), truth[[rows[str(patch["source"])] for patch in crops]]
    )
    return {
        "crops": len(crops),
        "coverage": round(float(shares.mean()), 4),
        "half": round(100 * float((shares >= 0.5).mean()), 2),
    }


def patches(distilled: Distilled, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The patches of some images, (M, 3, S, S) float32 in [0, 1] at the size S of an image, and (M,) their classes."""
    size, found, classes = distilled.images.shape[-1], list[torch.Tensor](), list[int]()
    for number in rows:
        entry, image = distilled.metadata[number], distilled.images[number].float() / 255
        cell = size // isqrt(len(entry["patches"]))
        for patch in entry["patches"]:
            row, column = (cell * place for place in patch["cell"])
            pixels = image[:, row : row + cell, column : column + cell]
            found.append(F.interpolate(pixels[None], size=size, mode="bilinear"))
            classes.append(class_of(patch, entry))
    return torch.cat(found), torch.tensor(classes)


@torch.inference_mode()
def _embed(
    distilled: Distilled, teacher: Classifier, network: Embedder, side: int | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Of all patches: features (M, D) float32, classes (M,), and the teacher's mean cross-entropy."""
    device = next(teacher.parameters()).device
    features, losses, labels = [], [], []
    for start in range(0, len(distilled.metadata), _BATCH):
        images, classes = patches(distilled, range(len(distilled.metadata))[start : start + _BATCH])
        images = images.to(device)
        shown = images if side in (None, images.shape[-1]) else F.interpolate(images, side, mode="bilinear")
        embedded = network.features(shown)
        logits = teacher.head(embedded) if network is teacher else teacher(images)
        losses.append(F.cross_entropy(logits.float(), classes.to(device), reduction="none").cpu())
        features.append(embedded.float().cpu())
        labels.append(classes)
    return torch.cat(features).numpy(), torch.cat(labels).numpy(), float(torch.cat(losses).mean())


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def quality_of(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of an entry of ``results.json`` that a finished comparison gives."""
    return {name: facts[name] if facts else None for name in ("quality", "localisation")}
