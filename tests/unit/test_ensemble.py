"""Several teachers as one: the mean of their logits, as one linear layer on all of their features."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from ddselect.config import build_experiment
from ddselect.dataset.index import Index
from ddselect.options import conf_dir
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import describe
from ddselect.student.models import Classifier, build_network, last_layer
from ddselect.teacher.card import Card, JointTeacher, load_teacher, write_teacher
from ddselect.teacher.choice import StoredTeacherConfig, TrainedTeacherConfig
from ddselect.teacher.ensemble import Ensemble, EnsembleConfig
from tests.helpers.teachers import REST, check_at, provide

ANIMALS = ["ant", "bee", "cow"]


def member(folder: Path, architecture: str, shift: float, columns: list[int] | None = None) -> Path:
    """A teacher of the three animals with a normalisation of its own."""
    torch.manual_seed(int(shift * 10))
    network = build_network(architecture, 3 if columns is None else 7, 16)
    card = Card(architecture, 3 if columns is None else 7, [shift] * 3, [shift / 2] * 3, ANIMALS, columns, 16)
    folder.mkdir(parents=True)
    write_teacher(folder, network, card)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [member(tmp_path / "a", "small_resnet16", 0.3), member(tmp_path / "b", "convnet3", 0.6, [5, 0, 2])]


def ensemble(folders: list[Path], check: bool = True) -> Ensemble:
    return Ensemble("both", [StoredTeacherConfig(f.name, str(f), check=check) for f in folders], check=check)


def test_its_logits_are_the_mean_of_logits(animals: Index, folders: list[Path], tmp_path: Path) -> None:
    assert provide(ensemble(folders), animals, tmp_path / "both") == {"members": [{"name": "a"}, {"name": "b"}]}
    assert {file.name for file in (tmp_path / "both").iterdir()} == {"teacher.safetensors", "teacher.json"}
    both, images = load_teacher(tmp_path / "both"), torch.rand(4, 3, 16, 16)
    alone = [load_teacher(folder) for folder in folders]
    torch.testing.assert_close(both(images), (alone[0](images) + alone[1](images)) / 2)
    torch.testing.assert_close(both.features(images), torch.cat([one.features(images) for one in alone], 1))
    torch.testing.assert_close(both.mean.flatten(), torch.full((3,), 0.45))
    assert not both.training
    assert not any(p.requires_grad for p in both.parameters())


def test_stored_features_make_its_logits(folders: list[Path]) -> None:
    both, images = JointTeacher([load_teacher(folder) for folder in folders]).eval(), torch.rand(4, 3, 16, 16)
    weight, bias = last_layer(both)
    with torch.no_grad():
        made = torch.nn.functional.linear(both.features(images), weight, bias)
        torch.testing.assert_close(made, both(images))


def test_an_ensemble_is_a_teacher_in_a_folder_too(
    animals: Index, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(ensemble(folders), animals, tmp_path / "both")
    again = StoredTeacherConfig("again", str(tmp_path / "both"))
    provide(again, animals, tmp_path / "again")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_teacher(tmp_path / "again")(images), load_teacher(tmp_path / "both")(images))
    found = check_at({JointTeacher: 80.0}, again, tmp_path / "again", monkeypatch)
    assert found == {"top1": 80.0, **REST}


@pytest.mark.parametrize(
    ("weak", "named"), [(Classifier, "teacher a has 35.0 %"), (JointTeacher, "teacher both has 35.0 %")]
)
def test_each_member_and_all_together_are_checked(
    animals: Index, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weak: type, named: str
) -> None:
    provide(ensemble(folders), animals, tmp_path / "both")
    with pytest.raises(UserError, match=named):
        check_at({weak: 35.0}, ensemble(folders), tmp_path / "both", monkeypatch)
    let_through = check_at({weak: 35.0}, ensemble(folders, check=False), tmp_path / "both", monkeypatch)
    top1 = {Classifier: 90.0, JointTeacher: 90.0, weak: 35.0}
    members = [{"name": name, "top1": top1[Classifier], **REST} for name in ("a", "b")]
    assert let_through == {"top1": top1[JointTeacher], **REST, "members": members}


def test_members_of_one_name_are_checked_each(animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder gives a member its name, and that may be the ensemble's."""
    twins = [member(tmp_path / place / "both", "small_resnet16", 0.3) for place in ("a", "b")]
    provide(ensemble(twins), animals, tmp_path / "joint")
    found = check_at({JointTeacher: 80.0}, ensemble(twins), tmp_path / "joint", monkeypatch)
    assert found["top1"] == 80
    assert [(one["name"], one["top1"]) for one in found["members"]] == [("both", 90.0), ("both", 90.0)]


def test_a_member_of_other_classes_is_refused(animals: Index, folders: list[Path], tmp_path: Path) -> None:
    card = json.loads((folders[1] / "teacher.json").read_text())
    (folders[1] / "teacher.json").write_text(json.dumps({**card, "classes": ["bee", "ant", "cow"]}))
    with pytest.raises(UserError, match="teacher b knows the classes bee, ant, cow, in this order"):
        provide(ensemble(folders, check=False), animals, tmp_path / "both")


def built(*overrides: str) -> Ensemble:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        teacher = build_experiment(compose("config", ["teacher=ensemble", *overrides])).teacher
    assert isinstance(teacher, Ensemble)
    return teacher


def test_members_are_options_or_folders(folders: list[Path]) -> None:
    teacher = built(f"teacher.members=[embedded,resnet18_torchvision,{folders[0]}]", "teacher.check=false")
    kinds = [type(one).__name__ for one in teacher.teachers]
    assert kinds == ["StoredTeacherConfig", "PretrainedTeacherConfig", "StoredTeacherConfig"]
    assert [one.name for one in teacher.teachers] == ["embedded", "resnet18_torchvision", "a"]
    assert not any(one.check for one in teacher.teachers)
    assert [one["architecture"] for one in describe(teacher)["teachers"] if "architecture" in one] == [
        "torchvision/resnet18.IMAGENET1K_V1"
    ]
    assert StoredTeacherConfig("a", str(folders[0])).signature() in teacher.signature()


def test_members_that_are_trained_have_networks_of_their_own() -> None:
    resnet, convnet = built("teacher.members=[trained_images:resnet18,trained_images:convnet3]").teachers
    assert isinstance(resnet, TrainedTeacherConfig)
    assert isinstance(convnet, TrainedTeacherConfig)
    assert [one.student.architecture for one in (resnet, convnet)] == ["resnet18", "convnet3"]
    assert [one.name for one in (resnet, convnet)] == ["trained_images resnet18", "trained_images convnet3"]
    assert resnet.recipe == convnet.recipe
    assert (resnet.recipe.epochs, resnet.recipe.optimizer) == (30, "sgd")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("[embedded,embedded:resnet18]", "teacher.members=embedded:resnet18: embedded trains no network"),
        ("[embedded]", r"teacher.members=\['embedded'\]: two or more different teachers are needed"),
        ("[embedded,embedded]", "teacher.members=.*: two or more different"),
        ("[embedded,nowhere]", "teacher.members=nowhere: no such teacher; choose from cifar10, "),
        ("[embedded,ensemble]", "teacher.members=.*: no member may be an ensemble itself"),
    ],
)
def test_bad_members_are_refused(members: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        built(f"teacher.members={members}")


def test_the_choice_alone_is_no_ensemble_of_ensembles() -> None:
    with pytest.raises(UserError, match="no member may be an ensemble itself"):
        EnsembleConfig("e", members=["a", "b"]).of([EnsembleConfig("f", members=["a", "b"])])
