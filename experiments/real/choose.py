"""Ways to choose whole images, on validation images of CIFAR-10: `python experiments/real/choose.py <folder> <work>`.

The training images whose names end in 0 are the validation images; the prior in the package never saw them. A way is a
ranking (prior's score, teacher's loss, both), the share of each class that is kept, and an order within it. Students
train under `rded`, as in `study.py`, in a loop of this file. Each result is a line of choose.jsonl beside this file,
and is not computed again; what prior and teacher say of the images is kept in <work>.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ddselect.dataset.classes import class_list
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.seeds import key64, numpy_generator, torch_generator
from ddselect.selection.greedy import herding_order, k_center_order
from ddselect.selection.ranking import best_share, cluster_order
from ddselect.student.losses import soft_label_loss
from ddselect.student.module import build_optimizer
from ddselect.student.settings import StudentConfig
from ddselect.student.views import TrainingSet, Views
from ddselect.teacher.card import load_teacher

FOUND = Path(__file__).with_name("choose.jsonl")
DRAWS, BAND = 4, (0.1, 0.5)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Way:
    """One way to choose, for an IPC and a seed."""

    rank: str  # what the places by count: score, difference, plain, busy, loss, chance, or several, joined by +
    share: float  # of each class, the highest ranked
    order: str  # within the share: first, random, herding, k_center, clusters
    ipc: int
    seed: int
    part: float = 1.0  # of the training images, drawn by the seed: how much the accuracy owes to the very images


class Bench:
    """CIFAR-10 with what the prior and the teacher in the package say of its training images."""

    def __init__(self, root: Path, work: Path) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        found = [(file, label) for label, name in enumerate(class_list("cifar10"))
                 for file in sorted((root / "train" / name).iterdir())]  # fmt: skip
        pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in found])
        images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor([c for _, c in found])
        held = torch.tensor([file.stem.endswith("0") for file, _ in found])
        self.images, self.labels = images[~held], labels[~held]
        self.test_images, self.test_labels = images[held], labels[held]
        self.teacher = load_teacher(Path(str(files("ddselect.teacher") / "cifar10")))

    def kept(self, name: str, make: Callable[[], Tensor]) -> np.ndarray:
        """What `make` gives, computed once."""
        place = self.work / f"{name}.npy"
        if not place.exists():
            np.save(place, make().numpy())
        return np.load(place)

    @cached_property
    def features(self) -> np.ndarray:
        """(N, D) of the teacher."""
        return self.kept("features", lambda: torch.cat([self._features(part) for part in self.images.split(500)]))

    @torch.inference_mode()
    def _features(self, images: Tensor) -> Tensor:
        return self.teacher.features(images.float() / 255)

    @cached_property
    def losses(self) -> np.ndarray:
        """(N,) the teacher's cross-entropy."""
        with torch.inference_mode():
            logits = self.teacher.head(torch.from_numpy(self.features))
        return F.cross_entropy(logits, self.labels, reduction="none").numpy()

    @cached_property
    def denoising(self) -> np.ndarray:
        """(N, 2) the prior's losses under the own class and under none."""
        return self.kept("denoising", self._denoising)

    @torch.inference_mode()
    def _denoising(self) -> Tensor:
        from ddselect.backbone.choice import ClassUNetConfig

        denoiser, found = ClassUNetConfig("cifar10", "cifar10", 32).load(CPU), []
        for number, (images, own) in enumerate(zip(self.images.split(64), self.labels.split(64), strict=True)):
            clean, generator = denoiser.encode(images), torch_generator("choose", number)
            total = torch.zeros(2 * len(own))
            for draw in range(DRAWS):
                if draw % 2 == 0:
                    noise, within = (
                        torch.randn(clean.shape, generator=generator),
                        torch.rand(len(own), generator=generator),
                    )
                share = BAND[0] + (BAND[1] - BAND[0]) * (draw // 2 + within) / (DRAWS // 2)
                steps, signed = (share * len(denoiser.schedule)).long().repeat(2), noise * (1 - 2 * (draw % 2))
                classes = torch.cat([own, torch.full_like(own, 10)])
                total += denoiser.loss(clean.repeat(2, 1, 1, 1), signed.repeat(2, 1, 1, 1), steps, classes).mean((1, 2))
            found.append(total.view(2, -1).T / DRAWS)
        return torch.cat(found)

    @cached_property
    def worths(self) -> dict[str, np.ndarray]:
        """(N,) what images are ranked by, larger is better."""
        own, none = self.denoising.T
        chance = numpy_generator(0, "chance").permutation(len(own)).astype(float)
        score = (none - own) / none  # how much of the loss the class explains
        found = {"score": score, "difference": none - own, "plain": -none, "busy": none}
        return {**found, "loss": -self.losses, "chance": chance}

    def rows(self, way: Way) -> np.ndarray:
        """The chosen images."""
        return np.concatenate([self._of_class(way, label) for label in range(10)])

    def _of_class(self, way: Way, label: int) -> np.ndarray:
        everything = np.flatnonzero(self.labels.numpy() == label)
        drawn = numpy_generator(way.seed, "part", label).permutation(len(everything))
        mine = everything[np.sort(drawn[: round(way.part * len(everything))])]
        worth = sum(_places(self.worths[name][mine]) for name in way.rank.split("+"))
        kept = best_share(worth, max(way.share, way.ipc / len(mine)))[0]
        features = self.features[mine][kept]
        order = {
            "first": lambda: np.arange(len(kept)),
            "random": lambda: numpy_generator(way.seed, "random", label).permutation(len(kept)),
            "herding": lambda: herding_order(features, way.ipc),
            "k_center": lambda: k_center_order(features, way.ipc),
            "clusters": lambda: cluster_order(worth[kept], features, key64(way.seed, label))[0],
        }[way.order]()
        return mine[kept[order[: way.ipc]]]

    def accuracy(self, way: Way) -> float:
        """Top-1 in percent on the validation images of a ConvNet-3 that is trained on the chosen images."""
        rows, protocol = torch.from_numpy(self.rows(way)), _protocol()
        stitched = torch.zeros(len(rows), dtype=torch.bool)
        data, student = (
            TrainingSet(self.images[rows], self.labels[rows], stitched, 1, way.ipc),
            StudentConfig("s", "convnet3_bn"),
        )
        views = Views(data, protocol.resolve(student.architecture, student.learning_rate, way.ipc, 10), way.seed)
        mean, std = protocol.statistics() or ([0.5] * 3, [0.5] * 3)
        model = student.build(10, mean, std, way.seed, 32).train()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1 - 0.9**protocol.batch_norm_updates
        optimizer, half = build_optimizer(model, views.protocol), torch.autocast("cpu", torch.bfloat16)
        for step in range(views.total):
            for group in optimizer.param_groups:
                group["lr"] = views.protocol.learning_rate * views.protocol.rate(step, views.total, views.per_pass)
            images, _, which, _ = views.batch(step)
            mixed = views.mixed(images, which, step).images
            with half:
                with torch.no_grad():
                    target = self.teacher(mixed)
                logits = model(mixed)
            loss = soft_label_loss(logits.float(), target.float(), protocol.loss, protocol.temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode(), half:
            hits = [model(part.float() / 255).argmax(1) for part in self.test_images.split(500)]
        return 100 * float((torch.cat(hits) == self.test_labels).float().mean())


def _places(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def _protocol() -> ProtocolConfig:
    from omegaconf import OmegaConf

    from ddselect.options import conf_dir

    settings = OmegaConf.to_container(OmegaConf.load(Path(str(conf_dir())) / "protocol" / "rded.yaml"))
    return ProtocolConfig(**{key: value for key, value in settings.items() if key != "_target_"})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="CIFAR-10 as class folders")
    parser.add_argument("work", type=Path)
    parser.add_argument("--ways", nargs="+", default=["both:.2:herding"], help="rank:share:order")
    parser.add_argument("--ipc", type=int, nargs="+", default=[10])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--part", type=float, default=1.0, help="share of the training images that a seed sees")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.root, arguments.work)
    known = [json.loads(line) for line in FOUND.read_text().splitlines()] if FOUND.exists() else []
    for text in arguments.ways:
        rank, share, order = text.split(":")
        for way in (
            Way(rank, float(share), order, ipc, seed, arguments.part)
            for ipc in arguments.ipc
            for seed in range(arguments.seeds)
        ):
            if any(asdict(way).items() <= ({"part": 1.0} | line).items() for line in known):
                continue
            line = {**asdict(way), "top1": round(bench.accuracy(way), 2)}
            with FOUND.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
