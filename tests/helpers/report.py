"""A finished run made up by hand, and a reader of the page that reports it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from ddselect.composition.compose import Composition
from ddselect.dataset.images import square_box
from ddselect.dataset.index import Index
from ddselect.dataset.scenes import BOXES
from ddselect.experiment import MethodConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.report.html import write_report
from ddselect.report.settings import ReportConfig
from ddselect.runtime.files import write_table
from ddselect.runtime.store import StageResult
from ddselect.runtime.trial import Trial
from ddselect.selection.diffusion import DiffusionConfig
from ddselect.selection.uninformed import AllImagesConfig, RandomConfig
from ddselect.student.confusion import write_confusion
from ddselect.student.settings import StudentConfig
from tests.helpers.data import write_scored

NAMES = ["ant", "<b>x", "cow"]
IPC = 2
ARMS = {
    "diffusion": MethodConfig(DiffusionConfig("diffusion", 0.5), Composition(2, 0.5)),
    "random_crop": MethodConfig(RandomConfig("random_crop", 0.0), Composition(2, 0.0)),
    "all": MethodConfig(AllImagesConfig("all", 1.0), Composition(2, 1.0)),
}
QUALITY = {"coverage": 0.125, "density": 1.5, "diversity": 0.75, "redundancy": None, "teacher_loss": 0.5}
TOP1 = {"diffusion": (60.0, 64.0), "random_crop": (50.0, 51.0), "all": (90.0, 91.0)}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list[str]  # classes of the elements around it
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page, with their text."""

    source: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[Element] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = [c for element in self.open for c in element.attributes.get("class", "").split()]
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, inside))
        if tag not in ("meta", "img", "br", "wbr", "input"):
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str, kind: str | None = None) -> list[Element]:
        found = [element for element in self.elements if element.tag == tag]
        return [e for e in found if kind is None or kind in e.attributes.get("class", "").split()]

    def row(self, name: str) -> tuple[Element, list[str]]:
        """The table row that starts with this word, and the text of its cells."""
        rows = [i for i, e in enumerate(self.elements) if e.tag == "tr"]
        at = next(i for i in rows if self.elements[i + 1].text.split()[:1] == [name])
        cells = []
        for element in self.elements[at + 1 :]:
            if element.tag == "tr":
                break
            if element.tag in ("th", "td"):
                cells.append(" ".join(element.text.split()))
        return self.elements[at], cells


def done(name: str, folder: Path, fingerprint: str, seconds: float = 1.0, reused: bool = False) -> StageResult:
    folder.mkdir(parents=True, exist_ok=True)
    took = {"seconds": seconds, "bytes": 1500, "peak_bytes": int(1e9 * seconds), "gpu_peak_bytes": 0}
    return StageResult(name, fingerprint, folder, {**took, "facts": {}}, reused)


def write_distilled(folder: Path, per_class: int, index: Index) -> None:
    """For each class images of one colour each: of every second a crop in its right half, the others whole images."""
    lines = []
    for label, name in enumerate(index.class_names):
        sources = [source for source, its in zip(index.ids, index.labels, strict=True) if its == label]
        (folder / "distilled" / str(label)).mkdir(parents=True, exist_ok=True)
        for slot in range(per_class):
            file = f"{label}/{slot:05d}.png"
            Image.new("RGB", (16, 16), (80 * label % 256, 60 * slot % 256, 0)).save(folder / "distilled" / file)
            kind, cell = ("image", [0, 0]) if slot % 2 else ("crop", [0, 1])
            patch = {"source": sources[slot % len(sources)], "box": [1, 2, 9, 10], "cell": cell, "kind": kind}
            patches = [{**patch, "score": 0.125, "cluster": 3, "rank": slot // 2}]
            lines.append(json.dumps({"file_name": file, "label": label, "class": name, "patches": patches}))
    (folder / "distilled" / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def write_accuracies(folder: Path, top1: Sequence[float | None]) -> None:
    """What a student with a top-1 in percent of each class, None without test images, leaves of its last test."""
    of = [(label, 1000, round(10 * value)) for label, value in enumerate(top1) if value is not None]
    right = [(label, label, hits) for label, _, hits in of if hits]
    wrong = [(label, (label + 1) % len(top1), images - hits) for label, images, hits in of if hits < images]
    write_confusion(folder, torch.tensor(right + wrong).reshape(-1, 3))


@dataclass
class Run:
    """A run of three selections, whose stages lie in ``root``."""

    root: Path
    index: Index
    seeds: tuple[int, ...] = (0, 1)
    per_class: dict[str, list[float | None]] = field(default_factory=dict)  # top-1 of the students by selection

    def trained(self) -> list[Trial]:
        shared = done("index", self.root / "index", "1dex", seconds=5, reused=True)
        return [self._trained(name, seed, shared) for name in ARMS for seed in self.seeds]

    def _trained(self, name: str, seed: int, shared: StageResult) -> Trial:
        key = f"{name}-{seed}"
        composition = done("composition", self.root / "composition" / key, f"c-{key}")
        if name != "all":  # the page must not look for the images of the full data
            write_distilled(composition.folder, IPC, self.index)
        student = done("student", self.root / "student" / key, f"s-{key}", seconds=70)
        write_accuracies(student.folder, self.per_class.get(name, [TOP1[name][seed]] * len(self.index.class_names)))
        tests = [{"step": step, "loss": 0.5 / step, "top1": TOP1[name][seed] * step / 20} for step in (10.0, 20.0)]
        (student.folder / "metrics.jsonl").write_text("".join(json.dumps(test) + "\n" for test in tests))
        return Trial(
            experiment=None,
            method=ARMS[name],
            seed=seed,
            protocol=ProtocolConfig("quick", steps=20),
            student=StudentConfig("net", "convnet3"),
            stages={"index": shared, "composition": composition, "student": student},
        )

    def entries(self) -> list[dict[str, Any]]:
        common = {"dataset": "animals", "backbone": "tiny", "prompt": "label", "protocol": "quick", "student": "net"}
        return [
            {
                **common,
                "selection": name,
                "composition": {"factor": arm.composition.factor, "whole": arm.composition.whole},
                "ipc": IPC if arm.selection.limit else None,
                "seed": seed,
                "top1_last": TOP1[name][seed],
                "top1_best": TOP1[name][seed] + 3.25,
                "top5_last": 97.5,
                "top5_best": 98.0,
                "test_images": 400,
                "quality": QUALITY if arm.selection.limit else None,
                "localisation": None,
                "training_images": IPC * len(self.index.class_names) if arm.selection.limit else len(self.index),
            }
            for name, arm in ARMS.items()
            for seed in self.seeds
        ]

    def results(self, localisation: dict[str, float] | None = None) -> dict[str, Any]:
        environment = {"ddselect": "0.0.1", "commit": None, "modified": None, "command": ["ipc=2", "seeds=[0,1]"]}
        environment |= {"python": "3", "packages": {"torch": "2"}, "platform": "here", "cpu": "fast", "cpus": 1}
        return {
            "results": self.entries(),
            "dd_ranking": None,
            "deviations": {"quick": ["protocol.epochs=<i>1</i> (quick: 3)", "protocol.loss=[kl] (quick: mse)"]},
            "teacher": {"name": "wise", "top1": 95.04, "top5": 99.0},
            "prior": {"name": "tiny", "top1": 61.5, "chance": 20.0, "images": 200, "classes": 5},
            "localisation": localisation,
            "environment": {**environment, "threads": 1, "gpus": []},
            "config": {
                "ipc": IPC,
                "boxes": {"prediction_shift_weight": 0.75},
                "dataset": {"image_size": 16},
                "note": "</pre><script>alert(1)</script>",
            },
        }

    def page(
        self,
        scores: tuple[Path, Path] | None = None,
        settings: ReportConfig | None = None,
        prompts: Sequence[Mapping[str, str]] = (),
        **results: Any,
    ) -> Page:
        path = self.root / "report.html"
        write_report(
            settings or ReportConfig(), self.results(**results), self.trained(), self.index, scores, path, prompts
        )
        return Page(path.read_text())


def write_scores(run: Run, truth: bool = True) -> tuple[Path, Path]:
    """Folders of boxes and of a scoring; the map of row r is r + 1 in its upper left quarter, else -(r + 1)."""
    rows = []
    for row, (image, label) in enumerate(zip(run.index.ids, run.index.labels, strict=True)):
        plane = np.full((4, 4), -(row + 1), dtype=np.float16)
        plane[:2, :2] = row + 1
        x0, y0, x1, y1 = square_box(*run.index.sizes_at(row))
        box = [x0, y0, (x0 + x1) // 2, (y0 + y1) // 2]
        common = {"id": image, "label": int(label), "image_score": float(row), "boxes": box}
        maps = dict.fromkeys(("difference", "prediction_shift"), plane.tobytes())
        rows.append({**common, "scores": [1.0], **maps})
    if truth:
        sides = {c: [v] * len(rows) for c, v in {"x0": 4, "y0": 4, "x1": 12, "y1": 20}.items()}
        write_table(run.index.root / BOXES, pa.table({"path": run.index.ids, **sides}))
    return write_scored(run.root, rows)


def with_classes(run: Run, count: int) -> Run:
    """The run with many classes of one image each, some of them the same."""
    rows = np.arange(count) % len(run.index)
    table = run.index.take(rows).table
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(np.arange(count), pa.int32()))
    names = [f"class {i}" for i in range(count)]
    return Run(run.root, Index(run.index.root, names, names, table), seeds=(0,))
