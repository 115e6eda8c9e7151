"""How fast a student is trained: the product's student stage and a plain loop in turn, within one run, on one thread.

    python experiments/student_speed/bench.py [epochs of the trainings to the end]

Writes results.json beside this file. Rates depend on the machine; the ratios are the finding.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import plain
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ddselect.composition.compose import read_distilled
from ddselect.config import build_experiment, conf_dir
from ddselect.dataset.index import read_index
from ddselect.evaluation.accuracy import Accuracy, Evaluation, TestSet, measure
from ddselect.pipeline import Pipeline
from ddselect.protocol.recipe import Protocol
from ddselect.relabel.live import LiveTeacher
from ddselect.runtime.environment import capture_environment
from ddselect.runtime.seeds import key64
from ddselect.runtime.store import Store
from ddselect.runtime.trainer import TrainerSettings
from ddselect.student.models import Classifier, build_network
from ddselect.student.settings import Student
from ddselect.student.train import student_views, train_student
from ddselect.student.views import TrainingSet
from ddselect.teacher.card import load_teacher

HERE, HALF, CPU = Path(__file__).parent, [0.5] * 3, torch.device("cpu")
PLAIN = [(workers, layout) for layout in ("plain", "channels last") for workers in (0, 2)]
UNTESTED = Accuracy(0.0, 0.0, 1)


@dataclass(frozen=True)
class Case:
    """A student on a distilled set.

    Attributes:
        teacher: Makes the teacher's network.
        folder: PNG class folders; ``data`` is the same in memory.
        rded: The protocol.
        block: Epochs that are timed together.
        pairs: Blocks of each kind.
    """

    name: str
    student: str
    teacher: Callable[[], nn.Module]
    size: int
    folder: Path
    data: TrainingSet
    rded: Protocol
    block: int
    pairs: int

    def protocol(self, epochs: int) -> Protocol:
        """RDED's, settled for the student, with other epochs and one test at the end."""
        settled = self.rded.settled(self.student, 1e-3, self.data.ipc, self.data.classes)
        return replace(settled, epochs=epochs, evaluations=1, area=[0.25, 1.0])


def network(name: str, size: int, seed: int) -> nn.Module:
    """An untrained network, the same for both."""
    with torch.random.fork_rng():
        torch.manual_seed(key64(seed, "student"))
        return build_network(name, 10, size)


def ours(case: Case, epochs: int, seed: int, folder: Path, test: Callable[[Classifier], Accuracy]) -> dict[str, object]:
    """The product's student stage: the training from the decoded set to files of weights and curves."""
    settings = Student(case.student, case.student, precision="fp32")
    model = Classifier(network(case.student, case.size, seed), HALF, HALF)
    labeller = LiveTeacher(Classifier(case.teacher(), HALF, HALF))
    views = student_views(case.data, case.protocol(epochs), settings, seed)
    make_trainer = TrainerSettings().single
    return train_student(model, views, "fp32", labeller, test, make_trainer, folder, case.name)


def theirs(case: Case, epochs: int, seed: int, workers: int, layout: str) -> plain.Plain:
    """The plain loop."""
    protocol = case.protocol(epochs)
    student = plain.Plain(network(case.student, case.size, seed))
    batch = protocol.batch(case.data.ipc, case.data.classes, len(case.data.labels))
    batches = plain.loader(case.folder, protocol, case.size, batch, workers)
    plain.train(student, plain.Plain(case.teacher()), batches, protocol, seed, layout)
    return student


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(case: Case) -> dict[str, object]:
    """Blocks of ours and of the best plain loop in turn."""
    with tempfile.TemporaryDirectory() as name:

        def our_block() -> float:
            return seconds(lambda: ours(case, case.block, 0, Path(name), lambda _: UNTESTED))

        def block(workers: int, layout: str, epochs: int = case.block) -> float:
            return seconds(lambda: theirs(case, epochs, 0, workers, layout))

        our_block()  # imports and first allocations
        tried = {f"{workers} workers, {layout}": block(workers, layout, case.block // 2) for workers, layout in PLAIN}
        workers, layout = PLAIN[min(range(len(PLAIN)), key=lambda k: list(tried.values())[k])]
        pairs = []
        for _ in range(case.pairs):
            pairs.append((our_block(), block(workers, layout)))
            print(case.name, pairs[-1], flush=True)
    mine, other = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
    return {
        "epochs_per_second": round(case.block / mine, 4),
        "plain_epochs_per_second": round(case.block / other, 4),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
        "ratios": [round(b / a, 2) for a, b in pairs],
        "plain": f"{workers} workers, {layout}",
        "plain_variants": {name: round(case.block // 2 / value, 4) for name, value in tried.items()},
    }


def where_time_goes(case: Case) -> dict[str, dict[str, float]]:
    """Shares of operators' own time in one epoch of each."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, work in {
            "ours": lambda: ours(case, 1, 0, Path(name), lambda _: UNTESTED),
            "plain": lambda: theirs(case, 1, 0, 0, "plain"),
        }.items():
            with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
                work()
            whole = sum(row.self_cpu_time_total for row in profiled.key_averages())
            rows = sorted(profiled.key_averages(), key=lambda row: -row.self_cpu_time_total)[:8]
            found[kind] = {row.key: round(row.self_cpu_time_total / whole, 3) for row in rows}
    return found


def to_the_end(case: Case, epochs: int, test_set: TestSet, seeds: int, workers: int) -> list[dict[str, float]]:
    """Top-1 on the test images after whole trainings of both, and how long they took."""
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            start = time.perf_counter()
            found = ours(case, epochs, seed, Path(name), lambda m: measure(m, test_set, Evaluation(), CPU))
            between = time.perf_counter()
        student = theirs(case, epochs, seed, workers, "plain")
        after = time.perf_counter()
        other = measure(Tested(student), test_set, Evaluation(), CPU)  # type: ignore[arg-type]
        rows.append({"seed": seed, "top1": found["top1_last"], "plain_top1": other.top1,
                     "ratio": round((after - between) / (between - start), 2)})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


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


def main(epochs: int) -> None:
    """Makes a distilled set of the embedded dataset, then times and trains."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            chosen = ["selection=rded", "compare=[]", "protocol=rded", "student=convnet3", f"store={root / 'store'}"]
            experiment = build_experiment(compose("config", chosen))
        pipeline = Pipeline(experiment, Store(experiment.store))
        ground = pipeline.prepare()
        arm = experiment.arms[0]
        composed = pipeline.distil(arm, 0, ground).stages["composition"].folder
        found = read_distilled(composed)
        data = TrainingSet(found.images, found.labels, found.stitched, arm.composition.factor, experiment.ipc)
        small = next(path for path in composed.rglob("*") if path.is_dir() and len(list(path.glob("*/*.png"))) == 100)
        large = enlarged(data, small, root / "large", 64)
        cases = [
            Case(
                "ConvNet-3, 32 px",
                "convnet3",
                lambda: load_teacher(ground.teacher.folder).network,
                32,
                small,
                data,
                experiment.protocol,
                20,
                5,
            ),
            Case(
                "ResNet-18, 64 px",
                "resnet18",
                lambda: network("resnet18", 64, 9),
                64,
                root / "large",
                large,
                experiment.protocol,
                2,
                3,
            ),
        ]
        result: dict[str, object] = {"environment": capture_environment(), "rows": [], "epochs_to_the_end": epochs}
        for case in cases:
            row = {"student": case.name, **in_turn(case), "where_time_goes": where_time_goes(case)}
            result["rows"].append(row)  # type: ignore[attr-defined]
            print(row, flush=True)
            (HERE / "results.json").write_text(json.dumps(result, indent=2) + "\n")
        test_set = TestSet(read_index(ground.index.folder).split("test"), 32, 1.0)
        best = 2 if str(result["rows"][0]["plain"]).startswith("2") else 0  # type: ignore[index]
        result["to_the_end"] = to_the_end(cases[0], epochs, test_set, 3, best)
        (HERE / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
