"""Quality of distilled sets, by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddselect.composition.distilled import Distilled
from ddselect.dataset.index import Index
from ddselect.embed.run import embed_images
from ddselect.embed.settings import EmbedConfig
from ddselect.embed.table import EmbedTable, embed_shards
from ddselect.evaluation import quality
from ddselect.evaluation.localisation import true_boxes
from ddselect.evaluation.quality import class_quality, found_regions, measure_quality, patches, quality_of
from ddselect.report.quality import quality_lines
from ddselect.runtime.trainer import TrainerConfig
from tests.helpers.models import tiny_teacher


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_coverage_and_density_by_hand() -> None:
    """Real 0, 1, 3, 10 with k = 1: the balls are [-1, 1], [0, 2], [1, 5], [3, 17]."""
    real = column(0, 1, 3, 10)
    assert class_quality(real, column(4), 1)["coverage"] == 0.5
    assert class_quality(real, column(4), 1)["density"] == 2
    found = class_quality(real, column(0.5, 1.5, -7), 1)
    assert found["coverage"] == 0.75
    assert found["density"] == pytest.approx((2 + 2) / 3)  # 0.5 lies in two balls, 1.5 in two, -7 in none
    assert class_quality(real, column(30), 1)["coverage"] == 0
    assert class_quality(real, column(4), 2)["density"] == 1  # in [0, 6] and [1, 19]


def test_the_real_images_themselves_are_covered() -> None:
    real = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    found = class_quality(real, real)
    assert found["coverage"] == 1
    assert found["diversity"] == pytest.approx(1)
    assert found["density"] == pytest.approx((5 + 1) / 5)  # a ball holds its centre and its k neighbours


def test_diversity_and_redundancy_by_hand() -> None:
    real = np.array([[0, 0], [3, 4]], np.float32)  # 5 apart
    found = class_quality(real, np.array([[1, 0], [0, 1], [0, 2]], np.float32))
    assert found["diversity"] == pytest.approx((np.sqrt(2) + np.sqrt(5) + 1) / 3 / 5)
    assert found["redundancy"] == pytest.approx((0 + 1 + 1) / 3)
    copies = class_quality(real, np.ones((4, 2), np.float32))
    assert copies["diversity"] == pytest.approx(0, abs=1e-6)
    assert copies["redundancy"] == pytest.approx(1)


def test_too_few_images_to_say() -> None:
    one = column(1)
    assert set(class_quality(one, one).values()) == {None}
    found = class_quality(column(0, 1), one)  # fewer than five neighbours: as many as there are
    assert (found["coverage"], found["density"]) == (1, 2)
    assert (found["diversity"], found["redundancy"]) == (None, None)


def test_a_distilled_set_in_the_teachers_features(animals: Index, tmp_path: Path) -> None:
    settings, teacher, trainer = EmbedConfig("teacher", batch_size=16), tiny_teacher(3), TrainerConfig()
    facts = embed_images(animals, None, teacher, None, settings, 16, trainer.parallel, tmp_path)
    assert facts == {"images": 90, "crops": 0}
    table = EmbedTable(embed_shards(tmp_path, 90))
    rows = np.array([0, 40, 41, 89])
    images = torch.stack([animals.read(row, 16) for row in rows])
    expected = teacher.features(images / 255)
    assert list(table.read(rows, "features")) == ["image"]
    np.testing.assert_allclose(table.read(rows, "features")["image"], expected.numpy(), atol=2e-3)

    chosen = np.concatenate([np.flatnonzero(animals.labels == label)[:4] for label in range(3)])
    labels = torch.from_numpy(animals.labels[chosen])
    images = torch.stack([animals.read(row, 16) for row in chosen])
    metadata = [
        {"label": label, "patches": [{"kind": "image", "cell": [0, 0], "source": "", "box": [0, 0, 16, 16]}]}
        for label in labels.tolist()
    ]
    found = measure_quality(
        Distilled(images, labels, labels[:, None], torch.zeros(12, dtype=torch.bool), metadata), animals, table, teacher
    )
    assert found["localisation"] is None
    values = found["quality"]
    assert isinstance(values, dict)
    loss = F.cross_entropy(teacher(images / 255), labels)
    assert values["teacher_loss"] == pytest.approx(float(loss), abs=1e-3)
    features = teacher.features(images / 255).numpy()

    def real(label: int) -> np.ndarray:
        return table.read(np.flatnonzero(animals.labels == label), "features")["image"]

    parts = [class_quality(real(label), features[4 * label : 4 * label + 4]) for label in range(3)]
    for name in ("coverage", "density", "diversity", "redundancy"):
        assert values[name] == pytest.approx(np.mean([part[name] for part in parts]), abs=2e-3)
    assert values["coverage"] >= 4 / 30  # the chosen ones lie in their own balls


def test_patches_of_stitched_images_are_seen_alone() -> None:
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    image[:, :8, 8:], image[:, 8:, :8], image[:, 8:, 8:] = 50, 100, 150
    crops = [{"kind": "crop", "cell": [place // 2, place % 2], "label": (place + 2) % 3} for place in (3, 0, 2, 1)]
    whole = [{"kind": "image", "cell": [0, 0]}]
    both = torch.stack([image, torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16)])
    metadata = [{"label": 2, "patches": crops}, {"label": 1, "patches": whole}]
    distilled = Distilled(both, torch.tensor([2, 1]), torch.zeros(2, 4), torch.tensor([True, False]), metadata)
    pixels = patches(distilled, [*((0, crop) for crop in crops), (1, whole[0])])
    assert pixels.shape == (5, 3, 16, 16)
    assert [(255 * patch).round().unique().tolist() for patch in pixels[:4]] == [[150], [0], [100], [50]]
    torch.testing.assert_close(255 * pixels[4], both[1].float())


@pytest.mark.parametrize(("batch", "distances"), [(1, 1), (3, 40), (5, 2**24)])
def test_quality_does_not_depend_on_how_much_is_held_at_a_time(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, distances: int
) -> None:
    """Crops of mixed classes and whole images, of classes in any order."""
    settings, teacher, trainer = EmbedConfig("teacher", batch_size=16), tiny_teacher(3), TrainerConfig()
    embed_images(animals, None, teacher, None, settings, 16, trainer.parallel, tmp_path)
    table = EmbedTable(embed_shards(tmp_path, 90))
    images = torch.stack([animals.read(row, 16) for row in (2, 31, 62, 5, 88)])
    metadata: list[dict] = []
    for number in range(5):
        cells = [[0, 0]] if number == 3 else [[0, 0], [0, 1], [1, 0], [1, 1]]
        kind, label = ("image" if number == 3 else "crop"), number % 3
        crops = [{"kind": kind, "cell": cell, "label": (label + k) % 3} for k, cell in enumerate(cells)]
        metadata.append({"label": label, "patches": [{**crop, "source": "", "box": [0, 0, 8, 8]} for crop in crops]})
    distilled = Distilled(images, torch.zeros(5), torch.zeros(5, 1), torch.zeros(5), metadata)
    whole = measure_quality(distilled, animals, table, teacher)
    monkeypatch.setattr(quality, "_BATCH", batch)
    monkeypatch.setattr(quality, "_DISTANCES", distances)
    parts = measure_quality(distilled, animals, table, teacher)
    assert parts["quality"] == pytest.approx(whole["quality"], abs=2e-4)
    by_hand = patches(
        distilled, [(number, patch) for number, entry in enumerate(metadata) for patch in entry["patches"]]
    )
    labels = torch.tensor([patch["label"] for entry in metadata for patch in entry["patches"]])
    loss = float(F.cross_entropy(teacher(by_hand), labels))
    assert whole["quality"]["teacher_loss"] == pytest.approx(loss, abs=1e-3)  # type: ignore[index]


def test_regions_that_crops_find(scenes: Index) -> None:
    train = scenes.split("train")
    truth = true_boxes(train)
    assert truth is not None

    def patch(row: int, box: list[int], kind: str = "crop") -> dict[str, object]:
        return {"source": train.ids[row], "box": box, "kind": kind}

    x0, y0, x1, y1 = truth[3].tolist()
    half = [x0, y0, x1, y0 + (y1 - y0) // 2]
    metadata = [
        {"patches": [patch(3, [x0, y0, x1, y1]), patch(3, half)]},
        {"patches": [patch(5, [0, 0, 32, 32], "image")]},  # whole images find nothing
        {"patches": [patch(3, [0, 0, 0, 0])]},
    ]
    share = (half[3] - half[1]) / (y1 - y0)
    found = found_regions(metadata, train)
    assert found is not None
    assert (found["crops"], found["coverage"]) == (3, pytest.approx((1 + share) / 3, abs=1e-4))
    assert found["half"] == pytest.approx(100 * (1 + (share >= 0.5)) / 3, abs=0.01)
    assert found_regions(metadata[1:2], train) is None


def entry(selection: str, seed: int, coverage: float | None, crops: float | None) -> dict[str, object]:
    quality = {"coverage": coverage, "density": 1.0, "diversity": None, "redundancy": 0.5, "teacher_loss": 0.25}
    facts = {"quality": quality, "localisation": {"coverage": crops} if crops else None}
    return {"selection": selection, "seed": seed, **quality_of(facts)}


def test_lines_of_the_report() -> None:
    entries = [entry("a", 0, 0.2, 0.9), entry("a", 0, 0.2, 0.9), entry("a", 1, 0.5, 0.7), entry("b", 0, None, None)]
    found = quality_lines([*entries, {"selection": "all", "seed": 0, **quality_of(None)}])
    assert found.headings == ["coverage", "density", "redundancy", "teacher loss", "true box covered, %"]
    assert found.lines == [
        ("a", ["0.350", "1.00", "0.500", "0.250", "80.0"]),  # each set once, whatever the number of students
        ("b", ["-", "1.00", "0.500", "0.250", "-"]),
    ]
