"""A teacher must know the dataset's classes, in their order, before anything expensive."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddselect.dataset.classes import class_list
from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import read_json, write_json, write_tensors
from ddselect.student.models import Classifier, build_network
from ddselect.student.settings import StudentConfig
from ddselect.teacher.card import load_teacher
from ddselect.teacher.choice import StoredTeacherConfig, TrainedTeacherConfig
from ddselect.teacher.pretrained import PretrainedTeacherConfig
from tests.helpers.models import tiny_teacher
from tests.helpers.teachers import REST, check_at, provide


def stored(folder: Path, classes: list[str]) -> StoredTeacherConfig:
    teacher = tiny_teacher(len(classes))
    write_tensors(
        folder / "teacher.safetensors",
        {k: t.half() if t.is_floating_point() else t for k, t in teacher.state_dict().items()},
    )
    card = {"architecture": "small_resnet16", "outputs": len(classes), "mean": [0.5] * 3, "std": [0.5] * 3,
            "columns": None, "classes": classes}  # fmt: skip
    write_json(folder / "teacher.json", card)
    return StoredTeacherConfig("stored", str(folder))


def test_stored_teacher_comes_back_frozen(animals: Index, tmp_path: Path) -> None:
    teacher = stored(tmp_path / "from", ["ant", "bee", "cow"])
    assert provide(teacher, animals, tmp_path / "to") == {}
    loaded, images = load_teacher(tmp_path / "to"), torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(loaded(images), tiny_teacher(3)(images), atol=2e-2, rtol=0)  # fp16 weights
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert {t.dtype for t in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("classes", [["bee", "ant", "cow"], ["ant", "bee"], ["ant", "bee", "cow", "dog"]])
def test_other_classes_or_another_order_are_refused(animals: Index, tmp_path: Path, classes: list[str]) -> None:
    teacher = stored(tmp_path / "from", classes)
    with pytest.raises(UserError, match=r"knows the classes .*in this order, not the dataset's \(ant, bee, cow\)"):
        provide(teacher, animals, tmp_path / "to")


@pytest.mark.parametrize(("top1", "refused"), [(33.3, True), (39.9, True), (40.1, False)])
def test_a_teacher_near_chance_is_refused(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top1: float, refused: bool
) -> None:
    """Three classes: chance is 33.3 %, and a tenth of the way to 100 % is 40 %."""
    teacher = stored(tmp_path / "from", ["ant", "bee", "cow"])
    provide(teacher, animals, tmp_path / "to")
    if not refused:
        found = check_at({Classifier: top1}, teacher, tmp_path / "to", monkeypatch)
        assert found == {"top1": top1, **REST}
        return
    with pytest.raises(UserError, match=r"near chance \(33.3 %\): check that its class order"):
        check_at({Classifier: top1}, teacher, tmp_path / "to", monkeypatch)


def test_a_teacher_near_chance_can_be_let_through(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = replace(stored(tmp_path / "from", ["ant", "bee", "cow"]), check=False)
    provide(teacher, animals, tmp_path / "to")
    assert check_at({Classifier: 33.3}, teacher, tmp_path / "to", monkeypatch)["top1"] == 33.3


@pytest.mark.parametrize("missing", ["teacher.safetensors", "teacher.json"])
def test_a_missing_file_says_what_to_do(animals: Index, tmp_path: Path, missing: str) -> None:
    teacher = stored(tmp_path / "from", ["ant", "bee", "cow"])
    (tmp_path / "from" / missing).unlink()
    with pytest.raises(UserError, match=f"{missing} is missing; set teacher.path=<folder>"):
        provide(teacher, animals, tmp_path / "to")


def test_imagenet_teacher_refuses_other_folders(animals: Index, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class folder 'ant' is not one of their WordNet IDs; use teacher=trained"):
        provide(PretrainedTeacherConfig("resnet18"), animals, tmp_path)


def test_imagenet_teacher_takes_the_columns_of_the_folders(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wnids = ["n02102040", "n01440764", "n15075141"]
    index = Index(animals.root, wnids, ["English springer", "tench", "toilet tissue"], animals.table)
    from ddselect.student import models
    from ddselect.teacher import pretrained

    monkeypatch.setattr(
        pretrained, "build_network", lambda a, n, size, pretrained=False: models.build_network(a, n, size)
    )
    provide(PretrainedTeacherConfig("test", "test_resnet.r160_in1k"), index, tmp_path)
    card = json.loads((tmp_path / "teacher.json").read_text())
    assert (card["columns"], card["image_size"]) == ([217, 0, 999], None)
    teacher, images = load_teacher(tmp_path), torch.rand(2, 3, 64, 64)
    assert isinstance(teacher, Classifier)
    with torch.no_grad():
        whole = Classifier(teacher.network, teacher.mean.flatten().tolist(), teacher.std.flatten().tolist())(images)
        assert whole.shape == (2, 1000)
        assert torch.equal(teacher(images), whole[:, [217, 0, 999]])


@pytest.mark.parametrize("architecture", ["convnet3", "resnet18", "vit_tiny"])
def test_a_trained_teacher_comes_back_for_its_size_of_images(
    animals: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    from ddselect.student import train

    trained: list[Classifier] = []

    def train_student(model: Classifier, *_: object) -> None:
        trained.append(model.eval())
        for name in ("student.safetensors", "metrics.jsonl", "confusion.parquet"):
            (tmp_path / name).touch()

    monkeypatch.setattr(train, "train_student", train_student)
    provide(TrainedTeacherConfig("trained", StudentConfig(architecture, architecture)), animals, tmp_path)
    assert json.loads((tmp_path / "teacher.json").read_text())["image_size"] == 16
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(load_teacher(tmp_path)(images), trained[0](images))


def test_a_card_without_a_size_is_of_the_published_form(tmp_path: Path) -> None:
    network = build_network("resnet18", 3, None)
    write_tensors(tmp_path / "teacher.safetensors", {f"network.{k}": t for k, t in network.state_dict().items()})
    card = {"architecture": "resnet18", "outputs": 3, "mean": [0.5] * 3, "std": [0.5] * 3, "columns": None,
            "classes": ["ant", "bee", "cow"]}  # fmt: skip
    write_json(tmp_path / "teacher.json", card)
    stem = load_teacher(tmp_path).network.conv1
    assert (stem.kernel_size, stem.stride) == ((7, 7), (2, 2))
    write_json(tmp_path / "teacher.json", {**card, "architecture": "convnet3"})
    with pytest.raises(UserError, match="'convnet3' is made for images of one size, and none is given"):
        load_teacher(tmp_path)
    embedded = load_teacher(StoredTeacherConfig("embedded").source)
    assert embedded(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_the_one_for_cifar10_knows_its_classes() -> None:
    source = StoredTeacherConfig("cifar10", path="cifar10").source
    assert read_json(source / "teacher.json")["classes"] == class_list("cifar10")
    assert load_teacher(source)(torch.rand(1, 3, 32, 32)).shape == (1, 10)
