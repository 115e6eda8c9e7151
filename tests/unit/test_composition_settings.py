"""What a composition comes to in a run: share of whole images, mixed classes."""

from types import SimpleNamespace
from typing import Any

import pytest

from ddselect.checks import check_ipc
from ddselect.composition.compose import Composition
from ddselect.composition.settings import AutoCompositionConfig, CompositionConfig
from ddselect.runtime.errors import UserError


@pytest.mark.parametrize(
    ("factor", "whole", "words"), [(0, 0.5, "factor=0"), (2, 1.1, "whole=1.1"), (2, -0.1, "whole=-0.1")]
)
def test_values_out_of_range(factor: int, whole: float, words: str) -> None:
    with pytest.raises(UserError, match=f"composition.{words}"):
        CompositionConfig(factor, whole)


@pytest.mark.parametrize(
    ("ipc", "whole"), [(1, 0.0), (9, 0.0), (49, 0.0), (50, 1.0), (200, 1.0)], ids=lambda value: str(value)
)
def test_auto_takes_whole_images_from_ipc_50_on(ipc: int, whole: float) -> None:
    assert AutoCompositionConfig(2, None).resolve(ipc, 32, soft=True) == Composition(2, whole)


@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_a_share_that_is_set_is_taken(ipc: int) -> None:
    for settings in (AutoCompositionConfig(2, 0.3), CompositionConfig(2, 0.3)):
        assert settings.resolve(ipc, 32, soft=True) == Composition(2, 0.3)
    assert CompositionConfig(2, None).resolve(ipc, 32, soft=True) == Composition(2, 0.0)


def test_classes_are_mixed_where_labels_are_soft_and_there_are_stitched_images() -> None:
    wanted = AutoCompositionConfig(2, None, mix_classes=True)
    assert wanted.resolve(10, 32, soft=True) == Composition(2, 0.0, mix_classes=True)
    assert wanted.resolve(10, 32, soft=False) == Composition(2, 0.0)
    assert wanted.resolve(50, 32, soft=True) == Composition(2, 1.0)
    for factor, whole in ((1, 0.3), (2, 1.0)):
        alone = CompositionConfig(factor, whole, mix_classes=True)
        assert alone.resolve(10, 32, soft=True) == Composition(factor, whole)
    stitched = CompositionConfig(2, 0.3, mix_classes=True)
    assert stitched.resolve(10, 32, soft=True) == Composition(2, 0.3, mix_classes=True)
    assert stitched.resolve(10, 32, soft=False) == Composition(2, 0.3)


@pytest.mark.parametrize(
    ("factor", "view", "whole"), [(1, 224, 1.0), (2, 32, 0.0), (2, 31, 1.0), (3, 48, 0.0), (4, 32, 1.0)]
)
def test_auto_takes_whole_images_where_crops_would_be_whole_or_tiny(factor: int, view: int, whole: float) -> None:
    assert AutoCompositionConfig(factor, None).resolve(1, view, soft=False) == Composition(factor, whole)


@pytest.mark.parametrize(
    ("ipc", "train", "classes", "per_class", "most"),
    [
        (1000, 6, 10, 0, 0),  # small whatever it is distilled from
        (1001, 6, 10, 0, 1000),
        (100_000_000, 12, 2, 0, 5000),
        (2562, 1_281_167, 1000, 0, 0),
        (5000, 1_281_167, 1000, 0, 2562),
        (5000, 1_281_167, 1000, 2000, 0),  # a pool of generated images
        (None, 10, 1, 0, 0),
        (10**9, None, 10, 0, 0),  # not counted yet
    ],
)
def test_a_set_far_larger_than_what_it_is_distilled_from_is_refused(
    ipc: int | None, train: int | None, classes: int, per_class: int, most: int
) -> None:
    facts = {"classes": classes, **({} if train is None else {"images": {"train": train}})}
    pool = SimpleNamespace(generates=per_class > 0, per_class=per_class)
    stages = {"index": SimpleNamespace(facts=facts)}
    trial: Any = SimpleNamespace(ipc=ipc, classes=classes, stages=stages, experiment=SimpleNamespace(pool=pool))
    if not most:
        check_ipc(trial)
        return
    with pytest.raises(UserError, match=f"^ipc={ipc}: .*; up to ipc={most} is taken here$"):
        check_ipc(trial)
