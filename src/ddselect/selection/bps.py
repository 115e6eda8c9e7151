"""BPS: a coreset of whole images, half from the centre of each visual pattern of a class and half from its margins."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ddselect.embed.table import EmbedTable
from ddselect.runtime.errors import UserError, shares
from ddselect.runtime.seeds import key64
from ddselect.selection.base import Order, SelectionConfig, SelectionInputs, of_all_classes
from ddselect.selection.table import Candidates, ranked

_NEIGHBOURS, _FARTHEST = 30, 0.5  # edges of each image, and the cosine distance up to which there is one
_LEAST_TAIL = 10  # images
_BLOCK = 1024  # images whose similarities to all others are held at once


@dataclass
class BPSConfig(SelectionConfig):
    """BPS (CVPR 2026): see :func:`bps_order`; each IPC has a selection of its own.

    One deviation from the paper: the patterns are Louvain's communities, not Infomap's.
    """

    tail: float = 0.1

    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        shares("selection", self, "tail")

    @property
    def embeds(self) -> tuple[str, ...]:
        return ("features", "entropy")

    def resolve(self, factor: int, whole: float, soft: bool) -> "BPSConfig":
        """Refuses a composition of crops: there are none to stitch."""
        if whole < 1:
            raise UserError(f"selection {self.name} has whole images alone, no crops: set composition.whole=1")
        return self

    def rank(self, inputs: SelectionInputs) -> list[pa.Table]:
        index, ipc = inputs.index, inputs.ipc
        if inputs.embedding is None or ipc is None:
            raise ValueError(f"the selection {self.name} needs an embedding and an IPC")
        embedding, boxes = EmbedTable(inputs.embedding), index.square_boxes()

        def rank_class(label: int, rows: np.ndarray) -> list[pa.Table]:
            features, entropies = (embedding.read(rows, field)["image"] for field in self.embeds)
            seed = key64(inputs.seed, "patterns", label) % 2**32
            order, found = bps_order(features, entropies, ipc, self.tail, seed)
            candidates = Candidates(rows, boxes[rows], np.zeros(len(rows), np.float32))
            return [ranked(candidates.take(order), found, index, label, "image")]

        return of_all_classes(self.name, index, rank_class)


def bps_order(features: np.ndarray, entropies: np.ndarray, budget: int, tail: float, seed: int) -> Order:
    """A class's images with the chosen ones first, those of larger patterns before; the others follow as given.

    A pattern gets its share of the budget (:func:`places`). Half of its places, at least one, take the images nearest
    to its centroid; the others are its margins (:func:`margin_order`). Up to ``budget`` images are all taken.

    Args:
        features: (N, D) of the images.
        entropies: (N,) of the teacher's predictions.
        budget: Images to choose.
        tail: Share of a pattern that margins are found in.
        seed: Of the patterns and mixtures.

    Returns:
        The (N,) order, and the pattern of each in that order: 0 is the largest.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    members = patterns(unit, seed)
    sizes, chosen = [len(mine) for mine in members], list[int]()
    belongs = np.empty(len(unit), dtype=np.int32)
    for number, (mine, count) in enumerate(zip(members, places(sizes, min(budget, len(unit))), strict=True)):
        belongs[mine] = number
        nearest = mine[np.argsort(((unit[mine] - unit[mine].mean(0)) ** 2).sum(1), kind="stable")]
        central = min(count, max(1, count // 2))
        chosen += nearest[:central].tolist()
        if count > central:
            rest = nearest[central:]
            chosen += rest[margin_order(entropies[rest], tail, seed)[: count - central]].tolist()
    order = np.concatenate([np.array(chosen, dtype=np.int64), np.setdiff1d(np.arange(len(unit)), chosen)])
    return order, belongs[order]


def patterns(unit: np.ndarray, seed: int) -> list[np.ndarray]:
    """Communities of features (N, D) of length 1: the members of each, rising, the largest community first.

    They are Louvain's (Blondel et al. 2008) in the graph of the 30 nearest neighbours up to a cosine distance of 0.5,
    whose edges weigh the cosine.
    """
    import networkx  # a part of a second to import

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(unit)))
    nearest = min(_NEIGHBOURS, len(unit) - 1)
    for start in range(0, len(unit) if nearest else 0, _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T
        own = np.arange(len(cosines))
        cosines[own, own + start] = -np.inf
        found = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
        near = np.take_along_axis(cosines, found, 1)
        row, place = np.nonzero(near >= 1 - _FARTHEST)
        edges = zip((row + start).tolist(), found[row, place].tolist(), near[row, place].tolist(), strict=True)
        graph.add_weighted_edges_from(edges)
    communities = networkx.community.louvain_communities(graph, seed=seed)
    return sorted((np.array(sorted(mine)) for mine in communities), key=lambda mine: (-len(mine), mine[0]))


def places(sizes: Sequence[int], budget: int) -> list[int]:
    """How many of a budget each pattern of so many images gets; the budget is no more than all of them.

    The rounded share of each, and what these lack of the budget or exceed it by, one by one from the largest on.
    """
    found = [round(budget * size / sum(sizes)) for size in sizes]
    step = 1 if sum(found) < budget else -1
    turns = cycle(sorted(range(len(sizes)), key=lambda number: -sizes[number]))
    while sum(found) != budget:
        number = next(turns)
        if 0 <= found[number] + step <= sizes[number]:
            found[number] += step
    return found


def margin_order(entropies: np.ndarray, tail: float, seed: int) -> np.ndarray:
    """Images of a pattern, given from its centre outwards, in the order in which its margins take them.

    To the highest entropies, the share ``tail`` of all and at least ten, a mixture of two Gaussians is fitted. First
    come those between the mean of the lower one and where the other becomes likelier, the lowest first, then those
    below that mean, falling, then the others of the tail, falling, then the rest as it is given.

    Entropies are (N,); returned are all (N,) images in order.
    """
    falling = np.argsort(-entropies, kind="stable")
    high, rest = np.split(falling, [max(_LEAST_TAIL, round(tail * len(entropies)))])
    values = entropies[high].astype(np.float64)
    if len(np.unique(values)) < 2:  # nothing to tell apart
        return np.concatenate([high, np.sort(rest)])
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture  # a second to import

    scaled = (values - values.mean()) / values.std()  # the fit has a least variance, which is for values around 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few distinct values
        mixture = GaussianMixture(2, random_state=seed).fit(scaled[:, None])
    lower, upper = np.argsort(mixture.means_[:, 0])
    below = scaled < mixture.means_[lower, 0]
    within = ~below & (scaled <= mixture.means_[upper, 0]) & (mixture.predict(scaled[:, None]) == lower)
    rising = high[within][np.argsort(values[within], kind="stable")]
    return np.concatenate([rising, high[below], high[~below & ~within], np.sort(rest)])
