"""Published settings: each composes with the figures that were published; the command line has the last word."""

from functools import cache

import pytest

from ddselect.composition.compose import Composition
from ddselect.config import build_experiment
from ddselect.experiment import Experiment
from ddselect.options import options
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.selection.rded import PublishedRDEDConfig
from tests.helpers.configs import composed

RDED = {
    "epochs": 300, "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "loss": "kl", "temperature": 20,
    "mixing": "cutmix", "alpha": 1, "zeta": 2, "shuffle": True, "labels": "soft",
}  # fmt: skip
FKD = {**RDED, "zeta": 1, "shuffle": False, "area": [0.08, 1.0]}
RD3 = {**RDED, "epochs": 400, "optimizer": "adam", "weight_decay": 0, "zeta": 1}
HARD = {
    "epochs": 2000, "optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "labels": "hard",
    "schedule": "steps", "gamma": 0.2, "mixing": "cutmix", "area": [0.5, 1.0], "jitter": 0.4, "lighting": 0.1,
}  # fmt: skip
# experiment: classes, batch size at IPC 10, protocol of its student at IPC 10
PUBLISHED: dict[str, tuple[int, int, dict[str, object]]] = {
    "imagenet1k_rded": (1000, 100, RDED),
    "imagenet1k_fkd": (1000, 1024, FKD),
    "imagenet1k_rd3": (1000, 50, RD3),
    "imagenette_hard": (10, 64, HARD),
    "imagewoof_hard": (10, 64, HARD),
    "imageidc_hard": (10, 64, HARD),
    "cifar10_rded": (10, 50, RDED),
    "cifar100_rded": (100, 100, RDED),
    "tinyimagenet_rded": (200, 100, RDED),
}


@cache
def experiment(name: str, *overrides: str) -> Experiment:
    return build_experiment(composed(f"experiment={name}", *overrides))


def resolve(e: Experiment, classes: int) -> ProtocolConfig:
    return e.protocol.resolve(e.student.architecture, e.student.learning_rate, e.ipc, classes)


def test_all_are_checked_here() -> None:
    assert options("experiment") == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_training_is_as_published(name: str) -> None:
    classes, batch, figures = PUBLISHED[name]
    e = experiment(name)
    assert e.ipc == 10
    assert len(e.seeds) == 3
    assert [method.selection.name for method in e.methods] == ["diffusion"]  # as published
    assert e.config["trainer"] == experiment(name, "trainer=auto").config["trainer"]
    protocol = resolve(e, classes)
    assert {key: getattr(protocol, key) for key in figures} == figures
    assert protocol.batch(10, classes, images=10 * classes) == min(batch, 10 * classes)


@pytest.mark.parametrize("name", ["imagenet1k_rded", "imagenet1k_fkd", "imagenet1k_rd3"])
def test_imagenet(name: str) -> None:
    e = experiment(name, "student=resnet101", "ipc=50")
    assert (e.ipc, e.student.name, e.dataset.name, e.dataset.image_size) == (50, "resnet101", "imagenet1k", 224)
    assert (e.teacher.name, e.backbone.name, e.scoring.draws) == ("resnet18", "dit_xl_2_256", 8)
    assert e.relabel.keep == ("logits" if name == "imagenet1k_fkd" else "nothing")
    assert e.methods[0].composition == Composition(2, 0.0)


def test_batches_of_rded_grow_with_the_ipc() -> None:
    protocol = experiment("imagenet1k_rded").protocol
    assert [protocol.batch(ipc, 1000, 1000 * ipc) for ipc in (1, 10, 50)] == [20, 100, 200]


@pytest.mark.parametrize("dataset", ["imagenette", "imagewoof", "imageidc"])
def test_class_labels(dataset: str) -> None:
    e = experiment(f"{dataset}_hard")
    assert (e.dataset.name, e.dataset.image_size, e.backbone.name) == (dataset, 224, "dit_xl_2_256")
    assert e.student.name == "resnetap10"
    assert e.methods[0].composition == Composition(2, 0.0)


def test_class_labels_of_more_images_and_another_student() -> None:
    e = experiment("imagenette_hard", "ipc=50", "student=convnet6")
    assert (resolve(e, 10).epochs, e.student.name) == (1500, "convnet6")


def test_small_images() -> None:
    for name in ("cifar10", "cifar100"):
        e = experiment(f"{name}_rded")
        assert (e.dataset.name, e.methods[0].composition.factor, e.methods[0].composition.whole) == (name, 1, 1)
        adapted = "none" if name == "cifar10" else "scratch"
        assert (e.backbone.adapt.mode, e.teacher.name, e.student.name) == (adapted, "trained_images", "resnet18")
    e = experiment("tinyimagenet_rded", "ipc=50")
    assert (e.dataset.image_size, e.backbone.name, e.teacher.name) == (64, "sd15", "trained_images")
    assert e.methods[0].composition == Composition(2, 0.0)


@pytest.mark.parametrize(
    ("overrides", "mixed"),
    [
        ([], True),
        (["ipc=50"], False),  # all images are whole
        (["ipc=50", "composition=stitched"], True),
        (["protocol=digits_hard"], False),
        (["protocols=[digits_hard]"], False),
        (["composition.mix_classes=false"], False),
        (["selection=rded"], False),
        (["selection=rded", "composition.mix_classes=true"], True),
        (["experiment=imagenet1k_rded"], False),
    ],
)
def test_classes_share_stitched_images_where_labels_are_soft(overrides: list[str], mixed: bool) -> None:
    e = build_experiment(composed(*overrides))
    assert e.methods[0].composition.mix_classes == mixed


@pytest.mark.parametrize(
    ("overrides", "whole"),
    [
        ([], 0.0),
        (["ipc=50"], 1.0),
        (["ipc=50", "selection=top_score"], 1.0),
        (["ipc=50", "selection=rded"], 0.0),  # a share of its own
        (["selection=kcenter"], 1.0),
        (["selection.whole=0.5", "ipc=50"], 0.5),
        (["composition.whole=0.5"], 0.5),
        (["composition=stitched", "ipc=50"], 0.0),
        (["composition=stitched", "selection.whole=0.5"], 0.5),
        (["composition=whole"], 1.0),
        (["composition.factor=1"], 1.0),
        (["dataset=cifar10", "selection=rded"], 1.0),
        (["dataset=cifar10", "selection=rded_published"], 0.0),  # as published: crops at factor 1 too
        (["dataset=cifar10", "selection=rded_published", "selection.whole=1.0"], 1.0),
        (["selection=rded_published", "composition.whole=1.0"], 1.0),
        (["dataset=imagenet1k", "ipc=50"], 0.0),
        (["dataset=imagewoof", "ipc=50"], 0.0),
        (["dataset=tinyimagenet", "ipc=50"], 0.0),
        (["dataset=tinyimagenet", "ipc=50", "composition=auto"], 1.0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_share_of_whole_images_follows_from_the_ipc_unless_it_is_set(overrides: list[str], whole: float) -> None:
    e = build_experiment(composed(*overrides))
    assert e.methods[0].composition.whole == whole


@pytest.mark.parametrize(
    ("overrides", "size"), [([], 0.5), (["dataset=cifar10"], 1.0), (["selection.size=0.25"], 0.25)]
)
def test_the_published_rded_judges_crops_in_the_size_they_are_stitched_in(overrides: list[str], size: float) -> None:
    selection = build_experiment(composed("selection=rded_published", *overrides)).methods[0].selection
    assert isinstance(selection, PublishedRDEDConfig)
    assert (selection.size, selection.crop_settings["size"]) == (size, size)
