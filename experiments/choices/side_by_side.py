"""Thousands of students on one GPU: ways to rank and to mix crops and whole images, on validation scenes.

    python experiments/choices/side_by_side.py prepare    # on processors: scores and selections, to sets.npz
    python experiments/choices/side_by_side.py train      # on a GPU, students of sets.npz side by side

`prepare` tries ways to select that were not kept: it runs with the code of 03d3e45, which has them.
Trains the default student by the default protocol, 192 at once as one network of grouped convolutions.
Writes side_by_side.json beside this file: by IPC and variant the accuracy of every seed.

    python experiments/choices/side_by_side.py table      # the table of what was found
"""

import json
import math
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ddselect.dataset.index import Index, read_index
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection.greedy import coverage_centric_order, herding_order, k_center_order, moderate_order
from ddselect.student.models import Classifier, build_network
from ddselect.teacher.card import load_teacher

HERE = Path(__file__).parent
POOLS = range(101, 111)  # seeds of ten datasets, each with candidates of its own
REPEATS = {1: 40, 10: 20, 50: 10}  # students of each variant by IPC: first one of each pool, then another
DEPTH = {1: 5, 10: 50, 50: 200}  # candidates ordered by clusters or greedily
SIDE, CELL, CLASSES, BATCH, STEPS, RATE, AT_ONCE = 32, 16, 10, 32, 1600, 4e-3, 192
AREA, SHIFT = (0.25, 1.5625), 0.25
GPU = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Variant = tuple[str, str, float]  # how crops and whole images are ordered, and the share of whole images
Order = Callable[[], np.ndarray]


def command(pool: int) -> list[str]:
    """The run that makes what the variants of a pool are selected from."""
    return [
        "run.py", f"dataset.seed={pool}", "dataset.apart=300", "dataset.sizes.val=2000", "evaluation.split=val",
        "selection=herding", "compare=[diffusion]", "seeds=[0]",
        "stages=[index,teacher,scoring,losses,features,confidence,selection]",
    ]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Candidates of one kind: rows of the images, boxes, scores (larger is better), teacher losses, features."""

    rows: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    losses: np.ndarray
    features: np.ndarray

    def take(self, mine: np.ndarray) -> "Kind":
        """Some of them."""
        return Kind(*(values[mine] for values in (self.rows, self.boxes, self.scores, self.losses, self.features)))


@dataclass(frozen=True)
class Pool:
    """The training scenes of a dataset; as candidates the prior's crops (d), RDED's crops (r) and whole images."""

    index: Index
    validation: Index
    teacher: Path
    crops: dict[str, Kind]
    images: Kind


def read_pool(pool: int) -> Pool:
    """Runs the command of a pool and reads what it made."""
    from ddselect.embed.feature_table import FeatureTable, feature_shards
    from ddselect.selection.confidence import confidence_shards

    line = [sys.executable, *command(pool)]
    done = subprocess.run(line, cwd=HERE.parents[1], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    found = [(name, HERE.parents[1] / folder) for name, _, folder in (text.partition(": ") for text in done)]
    folders = dict(found)
    of_scores, of_losses = [folder for name, folder in found if name == "features"]
    index = read_index(folders["index"])
    train = index.split("train")
    rows = np.arange(len(train))
    table = read_scores(folders["scoring"])
    crops, judged = crops_of(table), crops_of(read_scores(folders["losses"]))
    features = FeatureTable(feature_shards(of_scores, len(rows), 2000), crops.starts).read(rows)
    losses = FeatureTable(confidence_shards(folders["confidence"], len(rows)), crops.starts).read(rows)
    rded = FeatureTable(feature_shards(of_losses, len(rows), 2000), judged.starts).read(rows)
    image_scores = table["image_score"].to_numpy().astype(np.float32)
    return Pool(
        train,
        index.split("val"),
        folders["teacher"],
        {
            "d": Kind(crops.rows, crops.boxes, crops.scores, losses["crop"], features["crop"]),
            "r": Kind(judged.rows, judged.boxes, judged.scores, -judged.scores, rded["crop"]),
        },
        Kind(rows, train.square_boxes(), image_scores, losses["image"], features["image"]),
    )


def orders(of: Kind, seed: int, depth: int) -> dict[str, Order]:
    """Every order of a class's candidates by its name.

    ``top`` is by score, ``low`` by teacher loss, ``mix`` by the places in both; ``best`` and ``near`` are the best
    or nearest of each cluster, ``kc`` k-center, ``herd`` herding; a number is the share that stays, by what ranks.
    """
    from ddselect.selection.ranking import agreed, embedding, nested_order

    random, easy, mix = np.random.default_rng(seed), -of.losses, agreed(of.scores, of.losses, 0.5)

    def kept(worth: np.ndarray, share: float) -> np.ndarray:
        return np.argsort(-worth, kind="stable")[: max(1, round(share * len(worth)))]

    def clusters(worth: np.ndarray, pick: str, share: float = 0.8, per_pick: float = 1.0) -> np.ndarray:
        stay = kept(worth, share)
        return stay[nested_order(worth[stay], embedding(of.features[stay], 64, seed), pick, depth, seed, per_pick)[0]]

    def greedy(order: Callable[[np.ndarray, int], np.ndarray], worth: np.ndarray, share: float) -> np.ndarray:
        stay = kept(worth, share)
        return stay[order(of.features[stay], min(depth, len(stay)))]

    return {
        "rand1": lambda: random.permutation(len(easy)),
        "rand.5": lambda: random.permutation(kept(of.scores, 0.5)),
        "rand.2": lambda: random.permutation(kept(of.scores, 0.2)),
        "top": lambda: kept(of.scores, 1.0),
        "low": lambda: kept(easy, 1.0),
        "mix": lambda: kept(mix, 1.0),
        "near.8": lambda: clusters(of.scores, "nearest"),
        "best.8": lambda: clusters(of.scores, "best"),
        "both.8": lambda: clusters(of.scores, "both"),
        "best.5": lambda: clusters(of.scores, "best", 0.5),
        "best.8c2": lambda: clusters(of.scores, "best", 0.8, 2.0),
        "mixbest.8": lambda: clusters(mix, "best"),
        "lowbest.8": lambda: clusters(easy, "best"),
        "kc1": lambda: greedy(k_center_order, of.scores, 1.0),
        "kc.5": lambda: greedy(k_center_order, of.scores, 0.5),
        "kcmix.5": lambda: greedy(k_center_order, mix, 0.5),
        "kclow.5": lambda: greedy(k_center_order, easy, 0.5),
        "herd1": lambda: greedy(herding_order, of.scores, 1.0),
        "herd.5": lambda: greedy(herding_order, of.scores, 0.5),
        "mod": lambda: moderate_order(of.features),
        "ccs": lambda: coverage_centric_order(of.losses, 0.3, 50, random),
    }


def variants(ipc: int) -> list[Variant]:
    """What is compared at an IPC."""
    rivals: list[Variant] = [("r:low", "-", 0.0)]
    rivals += [("-", name, 1.0) for name in ("rand1", "low", "herd1", "kc1", "mod", "ccs")]
    ours = ["near.8", "best.8", "both.8", "top", "low", "mix", "mixbest.8", "lowbest.8", "kc.5", "kcmix.5", "herd.5"]
    if ipc > 1:
        rivals += [(f"r:{name}", name, 0.5) for name in ("low", "herd1", "kc1", "mod", "ccs")]
        rivals += [("d:near.8", "best.8", 0.5), *((f"d:{name}", name, 0.5) for name in ours)]
    more = [*ours, "rand.5", "rand.2", "best.5", "best.8c2", "kclow.5"]
    return [*rivals, *((f"d:{name}", "-", 0.0) for name in more), *(("-", name, 1.0) for name in more if name != "low")]


def cells(pool: Pool, ipc: int, seed: int) -> dict[Variant, np.ndarray]:
    """For each variant (10 IPC, 4, 3): row, x0, y0 of an image's crops; a whole image's x0 is -1."""
    found = {variant: np.full((CLASSES * ipc, 4, 3), -1, np.int16) for variant in variants(ipc)}
    for label in range(CLASSES):
        mine, key = np.flatnonzero(pool.index.labels == label), seed * 100 + label
        kinds = {name: kind.take(np.isin(kind.rows, mine)) for name, kind in pool.crops.items()}
        by_name = {f"{k}:{n}": (kinds[k], o) for k in kinds for n, o in orders(kinds[k], key, DEPTH[ipc]).items()}
        whole = orders(pool.images.take(mine), key, DEPTH[ipc])
        made: dict[str, np.ndarray] = {}
        for (crop, image, share), out in found.items():
            count, start, random = round(share * ipc), label * ipc, np.random.default_rng(key + 7)
            if count:
                made[image] = made[image] if image in made else mine[whole[image]()]
                out[start : start + count, 0, 0] = np.resize(made[image], count)
            if count < ipc:
                kind, order = by_name[crop]
                made[crop] = made[crop] if crop in made else order()
                places = np.resize(made[crop], 4 * (ipc - count)).reshape(-1, 4)
                places = np.stack([row[random.permutation(4)] for row in places])
                out[start + count : start + ipc, :, 0] = kind.rows[places]
                out[start + count : start + ipc, :, 1:] = kind.boxes[places][..., :2]
    return found


def prepare() -> None:
    """Selects the sets of all variants, pools and repeats, in the order in which they are trained."""
    pools = {number: read_pool(number) for number in POOLS}
    todo = sorted(((repeat + 0.5) / count, ipc, repeat) for ipc, count in REPEATS.items() for repeat in range(count))
    jobs, sets = [], defaultdict(list)
    for _, ipc, repeat in todo:
        number = POOLS[repeat % len(POOLS)]
        seed = 100 * number + repeat // len(POOLS)
        for variant, found in cells(pools[number], ipc, seed).items():
            jobs.append((ipc, len(sets[ipc]), "|".join(map(str, variant)), POOLS.index(number), seed))
            sets[ipc].append(found)
        print(f"IPC {ipc}, repeat {repeat}", flush=True)
    images = np.stack([pool.index.read_all(SIDE).numpy() for pool in pools.values()])
    tested = [pools[number].validation for number in POOLS[:2]]
    np.savez_compressed(
        HERE / "sets.npz", jobs=json.dumps(jobs), images=images, teacher=str(pools[POOLS[0]].teacher),
        tested=np.concatenate([index.read_all(SIDE).numpy() for index in tested]),
        labels=np.concatenate([index.labels for index in tested]),
        **{f"cells{ipc}": np.stack(found) for ipc, found in sets.items()},
    )  # fmt: skip


class Side:
    """Students side by side: ``small_resnet16`` with S times its channels, every convolution in S groups."""

    def __init__(self, seeds: list[int], teacher: Classifier) -> None:
        self.count, self.training = len(seeds), True
        networks = []
        for seed in seeds:
            torch.manual_seed(seed * 1000 + 7)
            networks.append(build_network("small_resnet16", CLASSES, SIDE))
        named = [dict(network.named_parameters()) for network in networks]
        self.parameters = {
            name: torch.stack([each[name].detach() for each in named]).to(GPU).requires_grad_(True) for name in named[0]
        }
        running = [name for name, _ in networks[0].named_buffers() if "running" in name]
        self.running = {name: torch.cat([network.get_buffer(name) for network in networks]).to(GPU) for name in running}
        self.mean, self.std = teacher.mean, teacher.std

    def convolution(self, x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        """(B, S C, H, W) to (B, S K, h, w), and the batch norm that belongs to it."""
        weight = self.parameters[f"{name}.weight"].flatten(0, 1)
        return F.conv2d(x, weight, None, stride, padding, groups=self.count)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Batch norm."""
        weight, bias = (self.parameters[f"{name}.{part}"].flatten() for part in ("weight", "bias"))
        mean, var = (self.running[f"{name}.running_{part}"] for part in ("mean", "var"))
        return F.batch_norm(x, mean, var, weight, bias, self.training)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, 3, H, W) in [0, 1] to logits (S, B, K)."""
        count, batch = images.shape[:2]
        x = ((images - self.mean) / self.std).transpose(0, 1).flatten(1, 2)
        with torch.autocast(GPU.type, torch.bfloat16):
            x = F.relu(self.norm(self.convolution(x, "stem.0", 2, 1), "stem.1"))
            for number, stride in enumerate((1, 2, 2)):
                name = f"body.{number}"
                y = F.relu(self.norm(self.convolution(x, f"{name}.conv1", stride, 1), f"{name}.bn1"))
                y = self.norm(self.convolution(y, f"{name}.conv2", 1, 1), f"{name}.bn2")
                if stride > 1:
                    x = self.norm(self.convolution(x, f"{name}.shortcut.0", stride, 0), f"{name}.shortcut.1")
                x = F.relu(x + y)
            pooled = x.mean((2, 3)).view(batch, count, -1).transpose(0, 1)
            logits = torch.baddbmm(
                self.parameters["fc.bias"][:, None].to(pooled.dtype),
                pooled, self.parameters["fc.weight"].transpose(1, 2).to(pooled.dtype),
            )  # fmt: skip
        return logits.float()


def passes(images: int, seeds: list[int]) -> Tensor:
    """(S, STEPS or more, BATCH) rows of every step: permutations of the set, as the student's views make them."""
    shown = images * -(-BATCH // images)
    steps = shown // BATCH
    found = []
    for seed in seeds:
        random = torch.rand(-(-STEPS // steps), shown, generator=torch.Generator().manual_seed(seed + 12345))
        found.append((random.argsort(1) % images)[:, : steps * BATCH].reshape(-1, BATCH))
    return torch.stack(found).to(GPU)


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Images (S, B, 3, H, W) in random windows, each student's batch mixed by CutMix with a box of its own."""
    count, batch = images.shape[:2]
    flat = images.flatten(0, 1)
    theta = torch.zeros(len(flat), 2, 3, device=GPU)
    side = (torch.rand(len(flat), device=GPU, generator=random) * (AREA[1] - AREA[0]) + AREA[0]).sqrt()
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = (torch.rand(len(flat), 2, device=GPU, generator=random) * 2 - 1) * SHIFT
    grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
    views = F.grid_sample(flat, grid, padding_mode="reflection", align_corners=False).view_as(images)
    half = (SIDE * torch.rand(count, device=GPU, generator=random).sqrt()).long() // 2
    pixels, inside = torch.arange(SIDE, device=GPU), []
    for _ in range(2):
        middle = torch.randint(SIDE, (count,), device=GPU, generator=random)
        inside.append((pixels >= (middle - half)[:, None]) & (pixels < (middle + half)[:, None]))
    box = (inside[0][:, :, None] & inside[1][:, None, :])[:, None, None]
    partner = torch.rand(count, batch, device=GPU, generator=random).argsort(1)
    return torch.where(box, views[torch.arange(count, device=GPU)[:, None], partner], views)


def train_side_by_side(
    sets: Tensor, seeds: list[int], teacher: Classifier, tested: Tensor, labels: Tensor
) -> list[float]:
    """Top-1 in percent of a student of each set: (S, n, 3, H, W) uint8."""
    students, order = Side(seeds, teacher), passes(sets.shape[1], seeds)
    optimizer = torch.optim.AdamW(list(students.parameters.values()), weight_decay=5e-4, fused=True)
    random = torch.Generator(GPU).manual_seed(sum(seeds) * 7919 + sets.shape[1])
    each = torch.arange(len(sets), device=GPU)[:, None]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / STEPS)) / 2
        views = augmented(sets[each, order[:, step]].float() / 255, random)
        with torch.no_grad(), torch.autocast(GPU.type, torch.bfloat16):
            target = teacher(views.flatten(0, 1)).float().view(len(sets), BATCH, -1)
        loss = ((students(views) - (target - target.mean(2, keepdim=True)) / 10) ** 2).mean((1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    students.training = False
    right = torch.zeros(len(sets), device=GPU)
    with torch.no_grad():
        for some, true in zip(tested.split(250), labels.split(250), strict=True):
            found = students(some[None].expand(len(sets), *some.shape)).argmax(2)
            right += (found == true).float().sum(1)
    return (100 * right / len(tested)).tolist()


def composed(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The distilled images (n, 3, H, W) of a set's cells (n, 4, 3), from a pool's images."""
    found = np.zeros((len(places), 3, SIDE, SIDE), np.uint8)
    for image, crops in zip(found, places, strict=True):
        if crops[0, 1] < 0:
            image[:] = images[crops[0, 0]]
            continue
        for number, (row, x, y) in enumerate(crops):
            top, left = CELL * (number // 2), CELL * (number % 2)
            image[:, top : top + CELL, left : left + CELL] = images[row][:, y : y + CELL, x : x + CELL]
    return found


def train() -> None:
    """Trains the prepared sets, 192 at once, and keeps the accuracies."""
    prepared = np.load(HERE / "sets.npz")
    jobs: list[Any] = json.loads(str(prepared["jobs"]))
    teacher = load_teacher(Path(str(prepared["teacher"]))).to(GPU)
    tested, labels = torch.tensor(prepared["tested"]).to(GPU).float() / 255, torch.tensor(prepared["labels"]).to(GPU)
    images, places = prepared["images"], {ipc: prepared[f"cells{ipc}"] for ipc in REPEATS}
    found: dict[int, dict[str, list[list[float]]]] = {ipc: defaultdict(list) for ipc in REPEATS}
    groups = [[job for job in jobs if job[0] == ipc] for ipc in REPEATS]
    parts = [group[start : start + AT_ONCE] for group in groups for start in range(0, len(group), AT_ONCE)]
    for part in sorted(parts, key=lambda part: jobs.index(part[0])):
        start, ipc = time.perf_counter(), part[0][0]
        sets = np.stack([composed(images[pool], places[ipc][row]) for _, row, _, pool, _ in part])
        accuracies = train_side_by_side(
            torch.tensor(sets).to(GPU), [seed for *_, seed in part], teacher, tested, labels
        )
        for (_, _, variant, _, seed), accuracy in zip(part, accuracies, strict=True):
            found[ipc][variant].append([seed, round(accuracy, 2)])
        print(f"IPC {ipc}: {len(part)} students in {time.perf_counter() - start:.1f} s", flush=True)
    (HERE / "side_by_side.json").write_text(json.dumps(found, indent=None) + "\n")


def lines(ipc: int) -> list[str]:
    """A table's rows: crops, whole images, their share, accuracy, and how far ahead of RDED's crops; best first."""
    found: dict[str, list[tuple[int, float]]] = json.loads((HERE / "side_by_side.json").read_text())[str(ipc)]
    rded, rows = dict(found["r:low|-|0.0"]), []
    for name, pairs in found.items():
        values = [value for _, value in pairs]
        ahead = [value - rded[seed] for seed, value in pairs if seed in rded]
        error = f" ± {stdev(ahead) / len(ahead) ** 0.5:.2f}" if name != "r:low|-|0.0" else ""
        crops, images, share = name.split("|")
        cells = [crops, images, f"{float(share):.0%}", f"{mean(values):.2f} ± {stdev(values):.2f}"]
        rows.append((mean(ahead), f"| {' | '.join([*cells, f'{mean(ahead):+.2f}{error}'])} |"))
    return [row for _, row in sorted(rows, reverse=True)]


def gains() -> list[str]:
    """A table's rows: what the teacher's confidence adds to the score, in the same seeds, by unit and IPC."""
    found, rows = json.loads((HERE / "side_by_side.json").read_text()), []
    for unit, way in (("crops", "d:{0}|-|0.0"), ("half and half", "d:{0}|{0}|0.5"), ("whole images", "-|{0}|1.0")):
        for name, without, with_it in (("the best", "top", "mix"), ("the best of each cluster", "best.8", "mixbest.8")):
            cells = []
            for ipc in REPEATS:
                pair = [dict(found[str(ipc)].get(way.format(order), [])) for order in (without, with_it)]
                added = [pair[1][seed] - pair[0][seed] for seed in pair[0] if seed in pair[1]]
                cells.append(f"{mean(added):+.2f} ± {stdev(added) / len(added) ** 0.5:.2f}" if added else "-")
            rows.append(f"| {unit}, {name} | {' | '.join(cells)} |")
    return rows


def table() -> None:
    """Prints what was found."""
    for ipc in REPEATS:
        print(f"\nIPC {ipc}\n\n{HEAD}", *lines(ipc), sep="\n")
    print("", *gains(), sep="\n")


HEAD = "| crops | whole images | share whole | top-1 % | ahead of RDED's crops |\n|---|---|---|---|---|"

if __name__ == "__main__":
    {"prepare": prepare, "train": train, "table": table}[sys.argv[1]]()
