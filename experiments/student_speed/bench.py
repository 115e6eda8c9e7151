"""How fast a student is trained: the product's student stage and a plain loop in turn, within one run, on one thread.

    python experiments/student_speed/bench.py [speed] [accuracy] [convnet3] [resnet18]

Writes the parts and students that were asked for, or all of them, to results.json beside this file. Rates depend on the
machine; the ratios are the finding.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import plain
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ddselect.composition.distilled import read_distilled
from ddselect.config import build_experiment
from ddselect.dataset.index import index_of
from ddselect.options import conf_dir
from ddselect.pipeline import graph_of
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.live import LiveTeacher
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.hardware import computes_in_bf16
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import Store
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.models import Classifier, build_network
from ddselect.student.settings import StudentConfig
from ddselect.student.train import student_views, train_student
from ddselect.student.validation import TestSet, validate
from ddselect.student.views import TrainingSet
from ddselect.teacher.card import load_teacher

HERE, HALF = Path(__file__).parent, [0.5] * 3
PLAIN = [(workers, layout) for layout in ("plain", "channels last") for workers in (0, 2)]
PARTS = ["speed", "accuracy"]
BF16 = computes_in_bf16()
UNTESTED = TestSet(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)[:0], torch.zeros(0, dtype=torch.int64), 10)


@dataclass(frozen=True)
class Case:
    """A student on a distilled set.

    Attributes:
        teacher: Makes the teacher's network of the timed trainings, an untrained one where none fits.
        trained: Makes the teacher's network of the trainings to the end.
        folder: PNG class folders; ``data`` is the same in memory.
        rded: The protocol.
        block: Epochs that are timed together.
        rounds: Blocks of each kind.
        whole: Epochs of a training to the end.
    """

    name: str
    student: str
    teacher: Callable[[], nn.Module]
    trained: Callable[[], nn.Module]
    size: int
    folder: Path
    data: TrainingSet
    rded: ProtocolConfig
    block: int
    rounds: int
    whole: int

    def protocol(self, epochs: int) -> ProtocolConfig:
        """RDED's, settled for the student, with other epochs and one test at the end."""
        settled = self.rded.resolve(self.student, 1e-3, self.data.ipc, self.data.classes)
        return replace(settled, epochs=epochs, evaluations=1, area=[0.25, 1.0])


def network(name: str, size: int, seed: int) -> nn.Module:
    """An untrained network, the same for both."""
    with torch.random.fork_rng():
        torch.manual_seed(key64(seed, "student"))
        return build_network(name, 10, size)


def ours(
    case: Case, epochs: int, seed: int, folder: Path, tests: TestSet, precision: str = "auto"
) -> dict[str, object]:
    """The product's student stage: the training from the decoded set to files of weights and curves."""
    settings = StudentConfig(case.student, case.student, precision=precision)
    model = Classifier(network(case.student, case.size, seed), HALF, HALF)
    labeller = LiveTeacher(Classifier(case.teacher(), HALF, HALF))
    views = student_views(case.data, case.protocol(epochs), settings, seed)
    make_trainer = TrainerConfig().single
    return train_student(model, views, settings.precision, labeller, tests, make_trainer, folder, case.name)


def theirs(case: Case, epochs: int, seed: int, workers: int, layout: str, bf16: bool = False) -> plain.Plain:
    """The plain loop, in fp32 or under autocast."""
    protocol = case.protocol(epochs)
    student = plain.Plain(network(case.student, case.size, seed))
    batch = protocol.batch(case.data.ipc, case.data.classes, len(case.data.labels))
    batches = plain.loader(case.folder, protocol, case.size, batch, workers)
    plain.train(student, plain.Plain(case.teacher()), batches, protocol, seed, layout, bf16)
    return student


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(case: Case) -> dict[str, object]:
    """Blocks of ours and of the best plain loop in turn, each also in the other precision where there are two."""
    with tempfile.TemporaryDirectory() as name:

        def our_block(precision: str) -> float:
            return seconds(lambda: ours(case, case.block, 0, Path(name), UNTESTED, precision))

        def plain_block(workers: int, layout: str, bf16: bool, epochs: int = case.block) -> float:
            return seconds(lambda: theirs(case, epochs, 0, workers, layout, bf16))

        our_block("auto")  # imports and first allocations
        half, blocks = max(1, case.block // 2), {"ours, default": lambda: our_block("auto")}
        if BF16:
            blocks["ours, fp32"] = lambda: our_block("fp32")
        variants, best = {}, {}
        for bf16 in (False, True) if BF16 else (False,):
            kind = "plain, bf16" if bf16 else "plain"
            tried = {one: plain_block(*one, bf16, half) for one in PLAIN}
            variants[kind] = {f"{w} workers, {layout}": round(half / t, 4) for (w, layout), t in tried.items()}
            chosen = min(tried, key=lambda one: tried[one])
            best[kind] = f"{chosen[0]} workers, {chosen[1]}"
            blocks[kind] = partial(plain_block, *chosen, bf16)
        times: dict[str, list[float]] = {kind: [] for kind in blocks}
        for _ in range(case.rounds):
            for kind, block in blocks.items():
                times[kind].append(block())
            print(case.name, {kind: round(case.block / t[-1], 3) for kind, t in times.items()}, flush=True)
    rates = {kind: round(case.block / statistics.median(t), 4) for kind, t in times.items()}
    ratios = {}
    for mine in (kind for kind in times if kind.startswith("ours")):
        for other in best:
            each = [b / a for a, b in zip(times[mine], times[other], strict=True)]
            ratios[f"{mine} / {other}"] = {
                "median": round(statistics.median(each), 2),
                "each": [round(r, 2) for r in each],
            }
    return {
        "default_precision": "bf16" if BF16 else "fp32",
        "epochs_per_second": rates,
        "ratios": ratios,
        "plain": best,
        "plain_variants": variants,
    }


def where_time_goes(case: Case) -> dict[str, dict[str, float]]:
    """Shares of operators' own time in one epoch of each."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, work in {
            "ours": lambda: ours(case, 1, 0, Path(name), UNTESTED),
            "plain": lambda: theirs(case, 1, 0, 0, "plain"),
        }.items():
            with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
                work()
            whole = sum(row.self_cpu_time_total for row in profiled.key_averages())
            rows = sorted(profiled.key_averages(), key=lambda row: -row.self_cpu_time_total)[:8]
            found[kind] = {row.key: round(row.self_cpu_time_total / whole, 3) for row in rows}
    return found


def to_the_end(case: Case, test_set: TestSet, seed: int) -> dict[str, object]:
    """Top-1 on the test images after whole trainings of both in the same precision."""
    case = replace(case, teacher=case.trained)
    with tempfile.TemporaryDirectory() as name:
        found = ours(case, case.whole, seed, Path(name), test_set)
    student = theirs(case, case.whole, seed, 0, "plain" if case.student == "convnet3" else "channels last", BF16)
    other = validate(Tested(student), test_set, TrainerConfig().single)  # type: ignore[arg-type]
    row = {
        "student": case.name,
        "epochs": case.whole,
        "seed": seed,
        "top1": found["top1_last"],
        "plain_top1": other.top1,
    }
    print(row, flush=True)
    return row


class Halved(nn.Module):
    """A network that sees images at half their side, as they were before they were enlarged."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) to the features of the network at S / 2."""
        features: Tensor = self.inner.forward_features(nn.functional.avg_pool2d(images, 2))  # type: ignore[operator]
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Features to logits (N, K)."""
        logits: Tensor = self.inner.forward_head(features, pre_logits=pre_logits)  # type: ignore[operator]
        return logits

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.inner.get_classifier()  # type: ignore[operator, no-any-return]


class Tested(nn.Module):
    """A plain student with its normalisation, as the test wants it."""

    def __init__(self, student: plain.Plain) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [0, 1] to logits (N, K)."""
        return self.student((images - 0.5) / 0.5)


def enlarged(data: TrainingSet, source: Path, folder: Path, side: int) -> TrainingSet:
    """The set at another size, in memory and as PNG class folders."""
    for path in source.glob("*/*.png"):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((side, side), Image.Resampling.BICUBIC).save(target)
    images = nn.functional.interpolate(data.images.float(), side, mode="bicubic").clamp(0, 255).round().byte()
    return replace(data, images=images)


def main(asked: list[str]) -> None:
    """Makes a distilled set of the embedded dataset, then times and trains."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            chosen = ["selection=rded", "compare=[]", "protocol=rded", "student=convnet3", "stages=[composition]"]
            experiment = build_experiment(compose("config", [*chosen, f"store={root / 'store'}"]))
        graph, (trial,) = graph_of(experiment, None)
        graph.walk([trial], Store(experiment.store).run)
        composed, factor = trial.stages["composition"].folder, trial.method.composition.factor
        found = read_distilled(composed)
        data = TrainingSet(found.images, found.labels, found.stitched, factor, experiment.ipc)
        small = next(path for path in composed.rglob("*") if path.is_dir() and len(list(path.glob("*/*.png"))) == 100)
        large = enlarged(data, small, root / "large", 64)

        def digits_teacher() -> nn.Module:
            return load_teacher(trial.stages["teacher"].folder).network

        rded = experiment.protocol
        cases = [
            Case("ConvNet-3, 32 px", "convnet3", digits_teacher, digits_teacher, 32, small, data, rded, 8, 5, 300),
            Case(
                "ResNet-18, 64 px",
                "resnet18",
                lambda: network("resnet18", 64, 9),
                lambda: Halved(digits_teacher()),
                64,
                root / "large",
                large,
                rded,
                2,
                3,
                200,
            ),
        ]
        wanted = [case for case in cases if case.student in asked] or cases
        parts, place = [part for part in PARTS if part in asked] or PARTS, HERE / "results.json"
        tests = index_of(trial).split("test")
        for case in wanted:
            if "speed" in parts:
                row = {"student": case.name, **in_turn(case), "where_time_goes": where_time_goes(case)}
                keep(place, "rows", case.name, [row])
            if "accuracy" in parts:
                labels, ended = torch.from_numpy(tests.labels), []
                test_set = TestSet(tests.read_all(case.size), labels, 10)
                for seed in range(3):
                    ended.append(to_the_end(case, test_set, seed))
                    keep(place, "to_the_end", case.name, ended)


def keep(place: Path, part: str, student: str, rows: list[dict[str, object]]) -> None:
    """Puts what was found of a student in the place of what is there of it."""
    result = json.loads(place.read_text()) if place.exists() else {}
    others = [row for row in result.get(part, []) if row["student"] != student]
    result[part] = sorted(others + rows, key=lambda row: row["student"])
    result["environment"] = capture_environment()
    place.write_text(json.dumps(result, indent=2) + "\n")
    print(rows, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
