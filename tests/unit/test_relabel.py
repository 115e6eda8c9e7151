"""Soft labels: the losses by hand, and a teacher that stays what it was."""

from math import exp, log

import pytest
import torch
from torch import nn

from ddselect.evaluation.accuracy import Accuracy
from ddselect.protocol.recipe import Protocol
from ddselect.relabel.live import LiveTeacher, Relabel, soft_label_loss
from ddselect.student.models import Classifier, build_network
from ddselect.student.module import StudentModule, TrainingSet
from tests.helpers.models import tiny_teacher

STUDENT = [[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]]
TEACHER = [[2.0, 0.0, -4.0], [0.0, 1.0, 5.0]]


def softmax(logits: list[float], temperature: float) -> list[float]:
    total = sum(exp(v / temperature) for v in logits)
    return [exp(v / temperature) / total for v in logits]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_kl_by_hand(temperature: float) -> None:
    expected = 0.0
    for s, t in zip(STUDENT, TEACHER, strict=True):
        q, p = softmax(s, temperature), softmax(t, temperature)
        expected += sum(pi * (log(pi) - log(qi)) for pi, qi in zip(p, q, strict=True)) / 2  # batch mean, no T^2
    loss = soft_label_loss(torch.tensor(STUDENT), torch.tensor(TEACHER), "kl", temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_mse_by_hand() -> None:
    """Centred and divided by 10: (8/3, 2/3, -10/3) / 10 and (-2, -1, 3) / 10."""
    centred = [[0.8 / 3, 0.2 / 3, -1 / 3], [-0.2, -0.1, 0.3]]
    expected = sum((a - b) ** 2 for s, t in zip(STUDENT, centred, strict=True) for a, b in zip(s, t, strict=True)) / 6
    loss = soft_label_loss(torch.tensor(STUDENT), torch.tensor(TEACHER), "mse", 10.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_adding_a_constant_to_the_teacher_changes_nothing(kind: str) -> None:
    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER)
    first = soft_label_loss(student, teacher, kind, 4.0)
    torch.testing.assert_close(soft_label_loss(student, teacher + 7, kind, 4.0), first)


def test_equal_logits_have_no_kl() -> None:
    teacher = torch.tensor(TEACHER)
    assert soft_label_loss(teacher, teacher, "kl", 20.0).item() == pytest.approx(0, abs=1e-7)


def student_module(teacher: Classifier) -> StudentModule:
    model = Classifier(build_network("small_resnet16", 3, None), [0.5] * 3, [0.5] * 3)
    data = TrainingSet(
        torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        torch.ones(6, dtype=torch.bool),
        2,
        2,
    )
    labeller = Relabel("live").labeller(teacher)
    return StudentModule(model, data, Protocol("p", steps=4), 1e-3, 0, labeller, lambda m: Accuracy(0, 0, 1))


def test_teacher_is_no_part_of_the_student() -> None:
    module = student_module(tiny_teacher(3))
    assert set(module.state_dict()) == {f"model.{name}" for name in module.model.state_dict()}
    assert {id(p) for p in module.parameters()} == {id(p) for p in module.model.parameters()}
    assert list(LiveTeacher(tiny_teacher(3)).parameters()) == []


def test_teacher_stays_frozen_and_in_evaluation_mode() -> None:
    teacher = tiny_teacher(3)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    module = student_module(teacher).train()
    batch = next(iter(module.train_dataloader()))
    loss = module.training_step(batch, 0)
    loss.backward()
    assert not any(m.training for m in teacher.modules())
    assert any(m.training for m in module.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.model.parameters())


def test_labels_are_the_teachers_logits_on_the_mixed_images() -> None:
    teacher, images = tiny_teacher(3), torch.rand(4, 3, 16, 16)
    labels = LiveTeacher(teacher)(images)
    torch.testing.assert_close(labels, teacher(images))
    assert not labels.requires_grad
    assert labels.dtype == torch.float32
