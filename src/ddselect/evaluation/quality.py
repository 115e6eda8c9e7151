"""How good a distilled set is beside the accuracy that it gives: where its patches lie among the real images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ddselect.composition.distilled import Distilled, class_of, read_distilled
from ddselect.dataset.index import Index, index_of
from ddselect.embed.settings import Embedder
from ddselect.embed.table import EmbedTable
from ddselect.evaluation.localisation import coverage, true_boxes
from ddselect.runtime.progress import counting
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.models import Classifier
from ddselect.teacher.card import load_teacher

VERSION = 2
NEIGHBOURS = 5  # k of Naeem et al.
_BATCH = 256  # patches
_DISTANCES = 2**24  # that are held at a time
Place = tuple[int, Mapping[str, Any]]  # number of a distilled image, and one of its patches


def run(trial: Trial, folder: Path) -> Facts:
    """The quality stage."""
    from ddselect.embed.run import network_of, real_features  # Lightning: seconds to import

    stages, e = trial.stages, trial.experiment
    index = index_of(trial).split("train")
    teacher = load_teacher(stages["teacher"].folder).to(e.trainer.device)
    network, distilled = network_of(trial, teacher), read_distilled(stages["composition"].folder, folder)
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

    Held at a time are the features of one class, or of some small ones.

    A stitched image, as it is, lies far from all real ones. So its patches are what is measured, each as a student's
    window on it alone shows it: resized to a whole image.

    ``features`` are those of all training images. Where there is no ``network``, the teacher's are measured; where
    there is no ``side`` in pixels, patches are shown at the size of an image.

    Returns:
        ``quality``: the values of :func:`class_quality` of the patches, and the teacher's mean cross-entropy on them.
        ``localisation``: see :func:`found_regions`.
    """
    places = defaultdict[int, list[Place]](list)
    for number, entry in enumerate(distilled.metadata):
        for patch in entry["patches"]:
            places[class_of(patch, entry)].append((number, patch))
    found, losses, before = [], list[np.ndarray](), np.cumsum([len(places[label]) for label in sorted(places)])
    with counting("quality", int(before[-1]), "patches") as counter:
        for _, group in groupby(zip(sorted(places), before, strict=True), lambda one: one[1] // _BATCH):
            mine = [(label, place) for label, _ in group for place in places[label]]
            labels, parts = np.array([label for label, _ in mine]), list[np.ndarray]()
            for start in range(0, len(mine), _BATCH):
                pixels = patches(distilled, [place for _, place in mine[start : start + _BATCH]])
                embedded, loss = _embed(pixels, labels[start : start + _BATCH], teacher, network or teacher, side)
                parts.append(embedded)
                losses.append(loss)
                counter.advance(len(loss))
            embedded = np.concatenate(parts)
            for label in np.unique(labels):
                real = features.read(np.flatnonzero(index.labels == label), "features")["image"]
                found.append(class_quality(real, embedded[labels == label]))
    quality = {name: _mean([values[name] for values in found]) for name in found[0]}
    return {
        "quality": {**quality, "teacher_loss": round(float(np.concatenate(losses).mean()), 4)},
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
        k, balls, held, apart = min(neighbours, len(real) - 1), 0, 0, 0.0
        for some in np.array_split(real, 1 + len(real) ** 2 // _DISTANCES):
            among = distances(some, real)
            reach = np.partition(among, k, axis=1)[:, k]  # the nearest one is the image itself
            inside = distances(some, distilled) <= reach[:, None]
            balls, held, apart = balls + inside.any(1).sum(), held + inside.sum(), apart + among.sum(dtype=np.float64)
        covered, density = float(balls / len(real)), float(held / (k * len(distilled)))
        spread = apart / (len(real) * (len(real) - 1))
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


def patches(distilled: Distilled, places: Sequence[Place]) -> torch.Tensor:
    """The patches in some places, (M, 3, S, S) float32 in [0, 1] at the size S of an image."""
    images = distilled.images[torch.tensor([number for number, _ in places])]
    shown, by_cell = torch.empty(images.shape), defaultdict[int, list[int]](list)
    for row, (number, _) in enumerate(places):
        by_cell[images.shape[-1] // isqrt(len(distilled.metadata[number]["patches"]))].append(row)
    for cell, rows in by_cell.items():
        corners = [(row, *(cell * place for place in places[row][1]["cell"])) for row in rows]
        cut = torch.stack([images[row, :, y : y + cell, x : x + cell] for row, y, x in corners])
        shown[rows] = F.interpolate(cut.float() / 255, size=images.shape[-1], mode="bilinear")
    return shown


@torch.inference_mode()
def _embed(
    images: torch.Tensor, labels: np.ndarray, teacher: Classifier, network: Embedder, side: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features (M, D) float32 of some patches, and the teacher's cross-entropies (M,)."""
    images = images.to(next(teacher.parameters()).device)
    shown = images if side in (None, images.shape[-1]) else F.interpolate(images, side, mode="bilinear")
    embedded = network.features(shown)
    logits = teacher.head(embedded) if network is teacher else teacher(images)
    loss = F.cross_entropy(logits.float(), torch.from_numpy(labels).to(images.device), reduction="none")
    return embedded.float().cpu().numpy(), loss.cpu().numpy()


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def quality_of(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of an entry of ``results.json`` that a finished comparison gives."""
    return {name: facts[name] if facts else None for name in ("quality", "localisation")}
