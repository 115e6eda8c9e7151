"""Localisation measures by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ddselect.dataset.index import Index
from ddselect.evaluation.localisation import coverage, measure_localisation, pointing_game, smooth3, true_boxes
from tests.helpers.data import write_scored


def test_smoothing_averages_what_is_there() -> None:
    plane = np.zeros((1, 4, 4))
    plane[0, 0, 0], plane[0, 2, 2] = 4, 9
    smooth = smooth3(plane)[0]
    assert smooth[0, 0] == 1  # a corner has four neighbours, itself included
    assert smooth[0, 1] == pytest.approx(4 / 6)
    assert smooth[1, 1] == pytest.approx(13 / 9)
    assert smooth[2, 2] == 1
    assert smooth[3, 3] == pytest.approx(9 / 4)
    assert np.allclose(smooth3(np.full((2, 5, 3), 0.7)), 0.7)


def test_pointing_game() -> None:
    maps = np.zeros((4, 6, 6))  # of a 48-pixel view: 8 pixels per position
    maps[:, 1:4, 2:5] = 0.5
    maps[:, 2, 3] = 1  # the middle of the blob: x 24 to 32, y 16 to 24
    maps[3, 5, 0] = 4  # a lone peak in a corner: x 0 to 8, y 40 to 48
    boxes = np.array([[24, 16, 32, 24], [0, 0, 28, 48], [28, 20, 29, 21], [0, 40, 8, 48]])
    assert pointing_game(maps, boxes, 48).tolist() == [True, False, True, True]


def test_coverage() -> None:
    truth = np.array([[10, 10, 20, 30]] * 5)
    boxes = np.array([[10, 10, 20, 30], [0, 0, 40, 40], [15, 10, 40, 30], [15, 20, 40, 40], [20, 10, 30, 30]])
    assert coverage(boxes, truth).tolist() == [1, 1, 0.5, 0.25, 0]


def test_a_perfect_and_a_blind_map(scenes: Index, tmp_path: Path) -> None:
    test = scenes.split("test")
    truth = true_boxes(test)
    assert truth is not None

    def score(name: str, centres: np.ndarray) -> dict[str, float] | None:
        rows = []
        for row, (image, (x, y)) in enumerate(zip(test.ids, centres.tolist(), strict=True)):
            plane = np.zeros((16, 16), np.float16)
            plane[int(y) // 2, int(x) // 2] = 1
            plane[max(0, int(y) // 2 - 1) : int(y) // 2 + 2, max(0, int(x) // 2 - 1) : int(x) // 2 + 2] += 0.5
            corner = np.clip(np.array([x, y]) - 8, 0, 16).astype(int).tolist()
            rows.append({"id": image, "label": int(test.labels[row]), "image_score": 0.0, "scores": [1.0],
                         "boxes": [*corner, corner[0] + 16, corner[1] + 16],
                         "difference": plane.tobytes(), "prediction_shift": plane.tobytes()})  # fmt: skip
        return measure_localisation(test, *write_scored(tmp_path / name, rows), 0.75, 32)

    centres = (truth[:, :2] + truth[:, 2:]) / 2
    perfect, blind = score("perfect", centres), score("blind", (centres + 16) % 32)
    assert perfect is not None
    assert blind is not None
    assert perfect["images"] == 20
    assert perfect["pointing_game"] == 100
    assert perfect["coverage"] > 0.95
    assert blind["pointing_game"] == 0
    assert blind["coverage"] < perfect["coverage_chance"] < 0.7
    area = ((truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1])).mean()
    assert perfect["pointing_game_chance"] == pytest.approx(100 * area / 1024, abs=0.01)


def test_no_true_boxes_no_measure(animals: Index, tmp_path: Path) -> None:
    assert true_boxes(animals) is None
    assert measure_localisation(animals, tmp_path, tmp_path, 0.75, 16) is None


def test_true_boxes_follow_the_images(scenes: Index) -> None:
    train = scenes.split("train")
    order = [5, 0, 17]
    some = Index(train.root, train.class_folders, train.class_names, train.table.take(pa.array(order)))
    whole, part = true_boxes(train), true_boxes(some)
    assert whole is not None
    assert part is not None
    assert part.tolist() == whole[order].tolist()
