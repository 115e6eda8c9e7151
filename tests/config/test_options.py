"""The configuration: groups and packages, every option of every group, every key documented."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import ddselect
from ddselect.backbone.adapt import AdaptConfig
from ddselect.config import build_experiment
from ddselect.evaluation.twins import protocols_for
from ddselect.options import conf_dir, options
from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.schema import GROUPS, build
from tests.helpers.configs import composed

CONF = conf_dir()
FILES = sorted(CONF.rglob("*.yaml"))
WITHOUT_PACKAGE = {"trainer", "logger", "experiment", "hydra"}
WITHOUT_GROUP = {"export", "runtime", "stages", "sweep", "tracking", "training"}
OPTIONS = [(group, option) for group in GROUPS for option in options(group)]
NESTED = {"backbone/adapt": AdaptConfig}  # groups below a group, and what their part of it is built as
PRESETS = "experiment/preset"  # named by the datasets that they go with
INNER = [(group, option) for group in NESTED for option in options(group)]


def test_groups_are_packages() -> None:
    packages = {file.parent.name for file in Path(ddselect.__file__).parent.glob("*/__init__.py")}
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    assert groups - WITHOUT_PACKAGE == packages - WITHOUT_GROUP
    assert groups - {"experiment", "hydra"} == set(GROUPS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_composes_and_is_built(group: str, option: str) -> None:
    built = build(composed(f"{group}={option}"), group)
    assert isinstance(built, GROUPS[group])
    package = "runtime" if group in WITHOUT_PACKAGE else group
    assert type(built).__module__.startswith(f"ddselect.{package}.")


def test_all_groups_below_groups_are_known_here() -> None:
    assert {folder.relative_to(CONF).as_posix() for folder in CONF.glob("*/*/")} == {*NESTED, PRESETS, "hydra/help"}


@pytest.mark.parametrize(("group", "option"), INNER)
def test_option_of_a_group_below_a_group_composes_and_is_built(group: str, option: str) -> None:
    above, _, name = group.partition("/")
    cfg = composed(f"{group}={option}")
    part = getattr(build(cfg, above), name)
    assert type(part) is NESTED[group]
    assert list(cfg[above][name]) == [field.name for field in fields(part)]  # every field can be seen and set


def test_ways_to_adapt_a_backbone() -> None:
    assert options("backbone/adapt") == sorted(AdaptConfig.modes)
    ways = {option: build(composed(f"backbone/adapt={option}"), "backbone").adapt for option in AdaptConfig.modes}
    assert all(adapt.mode == option for option, adapt in ways.items())
    assert ways["none"] == AdaptConfig()  # the file and the class say the same
    assert build(composed(), "backbone").adapt == ways["none"]
    assert ways["lora"] == AdaptConfig(mode="lora", batch_size=16)


@pytest.mark.parametrize("option", options("backbone"))
def test_every_backbone_can_be_told_to_adapt(option: str) -> None:
    plain = build(composed(f"backbone={option}"), "backbone")
    chosen = [f"backbone={option}", "backbone/adapt=lora", "backbone.adapt.rank=4"]
    built = build(composed(*chosen), "backbone")
    assert (built.adapt.mode, built.adapt.rank, built.adapt.batch_size) == ("lora", 4, 16)
    assert replace(built, adapt=plain.adapt) == plain
    assert build(composed(*reversed(chosen)), "backbone") == built  # whatever the order


def test_every_dataset_has_a_preset_and_chooses_nothing_itself() -> None:
    assert options(PRESETS) == options("dataset")
    assert not [file for file in FILES if "@_global_." in file.read_text()]


@pytest.mark.parametrize("option", options("dataset"))
def test_what_goes_with_a_dataset_makes_an_experiment(option: str) -> None:
    experiment = build_experiment(composed(f"dataset={option}"))
    assert experiment.dataset.name == option
    folders = ["rded", "random_crop", "random_image"]
    rivals = {"imagefolder": folders, "shards": folders, "hub": folders}
    rivals["cluttered_digits"] = ["diffusion", "rded", "random_image", "all"]
    assert [method.selection.name for method in experiment.methods] == ["ddselect", *rivals.get(option, [])]


# prior, how it is adapted, draws, composition's factor, teacher, student, protocol
IMAGENET = ("dit_xl_2_256", "none", 8, 2, "resnet18")
CIFAR = ("class_unet", "scratch", 4, 1, "trained_images", "resnet18", "rded")
DIGITS = ("embedded", "none", 4, 2, "embedded", "small_resnet16", "digits")
BROUGHT = {
    "imagenet1k": (*IMAGENET, "resnet18", "rded"),
    "imagenet100": (*IMAGENET, "resnet18", "rded"),
    "imagenette": (*IMAGENET, "resnetap10", "hard"),
    "imagewoof": (*IMAGENET, "resnetap10", "hard"),
    "imageidc": (*IMAGENET, "resnetap10", "hard"),
    "tinyimagenet": ("sd15", "none", 8, 2, "trained_images", "resnet18", "rded"),
    "cifar10": ("cifar10", "none", 4, 1, "cifar10", "convnet3_bn", "rded"),
    "cifar100": CIFAR,
    "cluttered_digits": DIGITS,
    "imagefolder": DIGITS,
    "shards": DIGITS,
    "hub": DIGITS,
}


@pytest.mark.parametrize("option", options("dataset"))
def test_what_goes_with_a_dataset(option: str) -> None:
    e = build_experiment(composed(f"dataset={option}"))
    prior, drawn = (e.backbone.name, e.backbone.adapt.mode), (e.scoring.draws, e.methods[0].composition.factor)
    assert (*prior, *drawn, e.teacher.name, e.student.name, e.protocol.name) == BROUGHT[option]
    assert composed(f"dataset={option}").trainer == composed("trainer=auto").trainer


@pytest.mark.parametrize("option", options("selection"))
def test_a_selection_is_the_same_chosen_and_compared_with(option: str) -> None:
    chosen = build_experiment(composed(f"selection={option}", "compare=[]"))
    other = "random_image" if option == "diffusion" else "diffusion"
    compared = build_experiment(composed(f"selection={other}", f"compare=[{option}]"))
    assert compared.methods[1] == chosen.methods[0]
    assert chosen.methods[0].selection.name == option


def test_students_beside_the_chosen_one() -> None:
    experiment = build_experiment(composed("student=convnet3", "students=[resnetap10,convnet3,resnetap10]"))
    assert [student.name for student in experiment.students] == ["convnet3", "resnetap10"]
    assert experiment.students[1] == build_experiment(composed("student=resnetap10")).student


def test_protocols_beside_the_chosen_one_come_as_they_stand() -> None:
    experiment = build_experiment(composed("protocols=[hard,digits,hard,rded]", "protocol.flip=true"))
    assert [protocol.name for protocol in experiment.protocols] == ["digits", "hard", "rded"]
    assert experiment.protocol.flip
    assert experiment.protocols[1] == build_experiment(composed("protocol=hard")).protocol


def test_digits_with_class_labels() -> None:
    soft, hard = (build(composed(f"protocol={name}"), "protocol") for name in ("digits", "digits_hard"))
    assert replace(soft, name="digits_hard", labels="hard", normalisation="half") == hard


def test_dd_ranking_brings_what_it_is_set_against() -> None:
    experiment = build_experiment(composed("evaluation.dd_ranking=true", "compare=[rded,all]"))
    assert [method.selection.name for method in experiment.methods] == ["ddselect", "rded", "all", "random_image"]
    trained = {m.selection.name: [p.name for p in protocols_for(experiment, m)] for m in experiment.methods}
    hard, plain = "digits+class_labels", "digits+no_augmentation"
    assert trained["ddselect"] == trained["rded"] == ["digits", hard, plain]
    assert (trained["all"], trained["random_image"]) == (["digits", hard], ["digits", plain])
    without = build_experiment(composed("compare=[]"))
    assert [p.name for p in protocols_for(without, without.methods[0])] == ["digits"]
    hard_run = build_experiment(composed("evaluation.dd_ranking=true", "protocol=hard"))
    assert [p.name for p in protocols_for(hard_run, hard_run.methods[0])] == ["hard", "hard+no_augmentation"]


@pytest.mark.parametrize("option", ["gpu", "ddp"])
def test_gpu_options_say_where_there_is_no_gpu(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: TrainerConfig = build(composed(f"trainer={option}"), "trainer")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert settings.device.type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^trainer\.accelerator=gpu: [^\n]+ use trainer=cpu$"):
        _ = settings.device


def test_imagenet_takes_fitting_options() -> None:
    experiment = build_experiment(composed("dataset=imagenet1k", "student=resnet101", "ipc=50"))
    assert experiment.ipc == 50
    assert (type(experiment.backbone).__name__, experiment.backbone.path) == ("DiTConfig", "facebook/DiT-XL-2-256")
    assert (experiment.backbone.image_size, experiment.dataset.image_size) == (256, 224)
    assert (experiment.protocol.name, experiment.protocol.epochs) == ("rded", 300)
    assert (experiment.teacher.name, experiment.student.name) == ("resnet18", "resnet101")


def test_the_command_line_has_the_last_word() -> None:
    chosen = ["backbone=sd15", "backbone/adapt=lora", "scoring=default", "protocol=digits", "compare=[rded]"]
    for words in (["dataset=imagenet1k", *chosen], [*chosen, "dataset=imagenet1k"]):
        experiment = build_experiment(composed(*words))
        assert (experiment.backbone.name, experiment.backbone.adapt.mode) == ("sd15", "lora")
        assert (experiment.scoring.batch_size, experiment.protocol.name, len(experiment.methods)) == (64, "digits", 2)


def test_a_gpu_is_taken_where_torch_sees_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, found in ((True, ("gpu", 8)), (False, ("cpu", 1))):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        settings: TrainerConfig = build(composed(), "trainer")
        assert (settings.accelerator, settings.student_threads) == found
    assert build(composed("trainer=cpu"), "trainer") == settings


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONF).as_posix())
def test_every_key_has_a_comment(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# ")
    inherited = _bases(file)
    documented = True
    for line in lines:
        key = re.match(r"\s*(\w+):", line)
        if line.strip().startswith("#"):
            documented = True
        elif not line.strip():
            documented = False
        elif key and key[1] not in ("defaults", "_target_", *inherited):
            assert documented or " #" in line, f"{key[1]}: no comment above it"


def _bases(file: Path) -> set[str]:
    """Keys of the options that a file builds on; they are documented there."""
    found = set()
    for base in re.findall(r"^  - (\w+)$", file.read_text(), re.MULTILINE):
        if base != "_self_":
            text = (file.parent / f"{base}.yaml").read_text()
            found |= set(re.findall(r"^(\w+):", text, re.MULTILINE))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_key_is_explained_where_it_first_stands(file: Path) -> None:
    """By a comment on its line or above the keys that it stands among."""
    lines, explained = file.read_text().splitlines(), False
    bases = OmegaConf.load(file).get("defaults") or []
    for line in lines:
        if not line.strip():
            explained = False
        elif line.lstrip().startswith("#"):
            explained = True
        elif re.match(r"\w+:", line) and not line.startswith(("defaults:", "_target_:", "name:")):
            assert explained or "#" in line or bases, line
