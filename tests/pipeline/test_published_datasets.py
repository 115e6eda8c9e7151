"""The whole pipeline on miniature copies of published datasets, with tiny models from local folders."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from ddselect.config import build_experiment
from ddselect.dataset.classes import class_list, class_names, imagenet_classes
from ddselect.options import conf_dir
from ddselect.pipeline import run
from ddselect.prompt.conditions import read_prompts
from tests.helpers import layouts
from tests.helpers.families import write_sd15
from tests.helpers.models import write_dit, write_teacher

FAST = (
    *("ipc=1", "compare=[]", "scoring.draws=2", "scoring.workers=0", "backbone.dtype=fp32", "trainer=cpu"),
    *("protocol.epochs=0", "protocol.steps=2", "protocol.evaluations=1", "composition.whole=1"),
    "scoring.check_prior=false",  # untrained
)


def reached(place: Path, *settings: str) -> tuple[str, Path]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        experiment = build_experiment(compose("config", [*FAST, f"store={place / 'store'}", *settings]))
    [found] = run(experiment, place / "run")
    return found


def with_models(place: Path, names: list[str]) -> list[str]:
    """A small DiT and an untrained teacher."""
    prior, teacher = write_dit(place / "dit", latent_side=8), write_teacher(place / "teacher", names)
    return [
        *(f"backbone.path={prior}", "backbone.image_size=16", "dataset.image_size=16"),
        *("teacher=embedded", f"teacher.path={teacher}", "teacher.check=false"),
    ]


@pytest.mark.slow
def test_imagenette_out_of_imagenet_through_every_stage(tmp_path: Path) -> None:
    """Flat validation images, and classes that are not ImageNette's beside them."""
    wnids = class_list("imagenette")
    root = layouts.write_imagenet(tmp_path / "data", [*wnids, imagenet_classes()[999], imagenet_classes()[207]])
    models = with_models(tmp_path, class_names(wnids, "imagenet"))
    name, path = reached(tmp_path, "dataset=imagenette", f"dataset.root={root}", *models)
    assert name == "results"
    (found,) = json.loads(path.read_text())["results"]
    assert (found["dataset"], found["student"], found["protocol"]) == ("imagenette", "resnetap10", "hard")
    assert (found["training_images"], found["test_images"]) == (10, 10)
    (distilled,) = (tmp_path / "store" / "composition").glob("*/distilled")
    lines = [json.loads(line) for line in (distilled / "metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"].split("/")[0] for line in lines] == wnids
    for line in lines:
        assert line["patches"][0]["source"].startswith(f"train/{line['file_name'].split('/')[0]}/")


@pytest.mark.slow
def test_shards_through_every_stage(tmp_path: Path) -> None:
    """Patches are cut from the shards themselves."""
    wnids = [imagenet_classes()[k] for k in (3, 500, 2)]
    for split in ("train", "val"):
        layouts.write_training(tmp_path / "images" / split, wnids)
        layouts.write_shards(tmp_path / "shards", tmp_path / "images" / split, split, "name")
    models = with_models(tmp_path, sorted(wnids))
    chosen = ["dataset=shards", f"dataset.root={tmp_path / 'shards'}", "backbone=dit_xl_2_256"]
    name, path = reached(tmp_path, *chosen, *models)
    assert name == "results"
    (found,) = json.loads(path.read_text())["results"]
    assert (found["training_images"], found["test_images"]) == (3, 6)
    (metadata,) = (tmp_path / "store" / "composition").glob("*/distilled/metadata.jsonl")
    sources = [json.loads(line)["patches"][0]["source"] for line in metadata.read_text().splitlines()]
    assert all(source.startswith("train-0000") and ".tar/" in source for source in sources)


TRAINED = ("teacher=trained", "teacher.recipe.steps=2", "teacher.check=false")


@pytest.mark.slow
def test_cifar10_has_a_prior_and_a_teacher_in_the_package(tmp_path: Path) -> None:
    """As the option has it: nothing is downloaded."""
    root = layouts.write_cifar(tmp_path / "data", 10, "binary", packed=True)
    short = ["teacher.check=false", "student=small_resnet16"]
    name, path = reached(tmp_path, "dataset=cifar10", f"dataset.root={root}", *short)
    assert name == "results"
    (found,) = json.loads(path.read_text())["results"]
    assert (found["dataset"], found["training_images"], found["test_images"]) == ("cifar10", 10, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes"),
    [("imagewoof", 10), ("imageidc", 10), ("imagenet100", 100), ("tinyimagenet", 4), ("cifar100", 100)],
)
def test_every_other_named_dataset_through_every_stage(name: str, classes: int, tmp_path: Path) -> None:
    """With the prior that its option names, in small; a small student for the sake of time."""
    data, settings = tmp_path / "data", ["student=small_resnet16"]
    if name == "cifar100":
        layouts.write_cifar(data, classes, "python", packed=True)
        settings += ["backbone.adapt.steps=2", "backbone.adapt.channels=[8,16]", *TRAINED]
    elif name == "tinyimagenet":
        layouts.write_tiny_imagenet(data, imagenet_classes()[:classes])
        settings += [f"backbone.path={write_sd15(tmp_path / 'prior')}", "backbone.image_size=16", *TRAINED]
        settings += ["dataset.classes=any"]
    else:
        (layouts.write_pieces if name == "imagenet100" else layouts.write_subset)(data, name)
        settings += with_models(tmp_path, class_names(class_list(name), "imagenet"))
    end, path = reached(tmp_path, f"dataset={name}", f"dataset.root={data}", *settings)
    assert end == "results"
    (found,) = json.loads(path.read_text())["results"]
    assert (found["dataset"], found["training_images"]) == (name, classes)
    assert found["test_images"] == classes * (2 if name in ("imagewoof", "imageidc", "imagenet100") else 1)


def test_other_names_are_other_prompts(tmp_path: Path) -> None:
    """The images are the same, but not what a text-conditional prior is told about them."""
    root = layouts.write_subset(tmp_path / "data", "imagenette")
    prior = write_sd15(tmp_path / "prior")
    chosen = [
        f"dataset.root={root}",
        "backbone=sd15",
        f"backbone.path={prior}",
        "backbone.image_size=16",
        "stages=[prompt]",
    ]
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{wnid} bee {number}\n" for number, wnid in enumerate(class_list("imagenette"))))
    said = []
    for kind in ("folder", names, "imagenet"):
        _, folder = reached(tmp_path, "dataset=imagefolder", f"dataset.names={kind}", *chosen)
        said.append(read_prompts(folder)[0]["positive"])
    names.write_text(names.read_text().replace("bee", "ant"))
    _, folder = reached(tmp_path, "dataset=imagefolder", f"dataset.names={names}", *chosen)
    assert [*said, read_prompts(folder)[0]["positive"]] == ["n01440764", "bee 0", "tench", "ant 0"]
