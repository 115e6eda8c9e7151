"""Candidates embedded by another network than the teacher."""

from pathlib import Path

import numpy as np
import pytest

from ddselect.dataset.index import Index
from ddselect.features import settings as features
from ddselect.features.settings import Features, TimmFeatures
from ddselect.features.stage import embed_candidates
from ddselect.features.table import FeatureTable, feature_shards
from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerSettings
from ddselect.scoring.table import Crops
from ddselect.student.models import build_network
from tests.helpers.models import tiny_teacher


def no_teacher() -> None:
    raise AssertionError("another network embeds")


@pytest.mark.parametrize(("size", "shown"), [(0, (8, 16)), (24, (24, 24))])
def test_a_timm_model_sees_crops_and_images_at_its_size(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, shown: tuple[int, int]
) -> None:
    def without_weights(name: str, outputs: int, side: int | None, pretrained: bool) -> object:
        assert (name, outputs, side, pretrained) == ("resnet10t.c3_in1k", 1000, None, True)
        return build_network(name, outputs, side)

    monkeypatch.setattr(features, "build_network", without_weights)
    settings = TimmFeatures("timm", shard_size=4, batch_size=4, architecture="resnet10t.c3_in1k", size=size)
    network = settings.network(no_teacher)  # type: ignore[arg-type]
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])  # those that timm names
    assert not network.training
    index = animals.take(np.arange(6))
    boxes = index.square_boxes()
    boxes[:, 2:] = boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) // 2
    crops = Crops(np.arange(7), np.arange(6), boxes, np.zeros(6, np.float32))
    embed_candidates(index, crops, network, settings, 16, TrainerSettings().parallel, tmp_path)
    found = FeatureTable(feature_shards(tmp_path, 6, 4), crops.starts).read(np.array([5]))
    for kind, box, side in zip(("crop", "image"), (boxes[5], index.square_boxes()[5]), shown, strict=True):
        image = index.read(5, side, tuple(box.tolist()))[None] / 255
        np.testing.assert_allclose(found[kind], network.features(image).numpy(), rtol=1e-2, atol=2e-2)


def test_the_teacher_sees_what_is_composed() -> None:
    teacher, settings = tiny_teacher(3), Features("teacher")
    assert settings.network(lambda: teacher) is teacher
    assert [settings.shown(side) for side in (8, 16)] == [8, 16]


def test_a_negative_size() -> None:
    with pytest.raises(UserError, match=r"features.size=-1"):
        TimmFeatures("timm", architecture="resnet18", size=-1)
