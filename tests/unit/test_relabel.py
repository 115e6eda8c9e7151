"""Soft labels: the losses by hand, and a teacher that stays what it was."""

from dataclasses import replace
from math import exp, log
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.live import LiveTeacher
from ddselect.relabel.settings import VERSION, RelabelConfig
from ddselect.relabel.stored import StoredLabels, label_shards, store_labels
from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.losses import soft_label_loss
from ddselect.student.models import Classifier, build_network
from ddselect.student.module import StudentModule
from ddselect.student.settings import StudentConfig
from ddselect.student.views import TrainingSet, Views
from tests.helpers.data import nothing_to_test
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


def test_the_other_kinds_by_their_first() -> None:
    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER)
    kl = soft_label_loss(student, teacher, "kl", 20.0)
    torch.testing.assert_close(soft_label_loss(student, teacher, "kl_t2", 20.0), 400 * kl)
    expected = sum((a - b) ** 2 for s, t in zip(STUDENT, TEACHER, strict=True) for a, b in zip(s, t, strict=True)) / 6
    assert soft_label_loss(student, teacher, "mse_logits", 20.0).item() == pytest.approx(expected)


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
    views = Views(data, ProtocolConfig("p", steps=4, learning_rate=1e-3), 0)
    return StudentModule(model, views, LiveTeacher(teacher), nothing_to_test())


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


ALL_KINDS = ProtocolConfig(
    "p", epochs=3, batch_size=4, augment="randaugment", shuffle=True, area=[0.5, 1.0], jitter=0.4, lighting=0.1
)


def seen(protocol: ProtocolConfig = ALL_KINDS, seed: int = 0, repeats: int = 1) -> Views:
    """Three passes over seven images: a batch of four and one of three each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return Views(TrainingSet(images, torch.arange(7) % 3, torch.arange(7) % 2 == 0, 2, None), protocol, seed, repeats)


def store(teacher: Classifier, keep: str, folder: Path, views: Views | None = None) -> dict[str, object]:
    def make_trainer(callbacks: list[Callback]) -> pl.Trainer:
        return TrainerConfig().single(callbacks=callbacks)

    return store_labels(teacher, views or seen(), keep, make_trainer, folder, "a set")


@pytest.mark.parametrize("mixing", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("keep", ["logits", "features"])
def test_a_stored_label_is_the_teachers_on_exactly_the_view_that_it_meets(
    keep: str, mixing: str, tmp_path: Path
) -> None:
    teacher, views = tiny_teacher(3), seen(replace(ALL_KINDS, mixing=mixing))
    facts = store(teacher, keep, tmp_path, views)
    width = 3 if keep == "logits" else teacher.network.get_classifier().in_features  # type: ignore[operator]
    assert facts == {"passes": 3, "label_bytes": 2 * 7 * 3 * width, "width": width}
    again, labels = seen(replace(ALL_KINDS, mixing=mixing)), StoredLabels(tmp_path, views)
    for step in (5, 0, 3, 1, 4, 2):  # in any order
        images, _, stitched, _ = again.batch(step)
        torch.manual_seed(step)  # global random numbers have no part in it
        mixed = again.mixed(images, stitched, step).images
        kept = labels(mixed, step)
        assert kept.dtype == torch.float32
        if keep == "logits":
            assert torch.equal(kept, teacher(mixed).half().float())
        else:
            torch.testing.assert_close(kept, teacher.head(teacher.features(mixed).half().float()), atol=1e-6, rtol=0)


def test_labels_of_halves_are_stored_as_they_are_given_live(tmp_path: Path) -> None:
    views, live = seen(replace(ALL_KINDS, halves=True)), LiveTeacher(tiny_teacher(3), in_halves=True)
    store(tiny_teacher(3), "logits", tmp_path, views)
    for step in (0, 1):
        images, _, stitched, _ = views.batch(step)
        mixed = views.mixed(images, stitched, step).images
        assert StoredLabels(tmp_path, views)(mixed, step).equal(live(mixed).half().float())


def test_labels_of_a_subset_of_a_teachers_classes(tmp_path: Path) -> None:
    whole = tiny_teacher(5)
    teacher = Classifier(whole.network, [0.5] * 3, [0.5] * 3, [4, 0, 2]).eval().requires_grad_(False)
    store(teacher, "features", tmp_path)
    views = seen()
    images, _, stitched, _ = views.batch(0)
    mixed = views.mixed(images, stitched, 0).images
    torch.testing.assert_close(StoredLabels(tmp_path, views)(mixed, 0), teacher(mixed), atol=2e-3, rtol=2e-3)


def test_labelling_goes_on_where_it_stopped(tmp_path: Path) -> None:
    teacher, views = tiny_teacher(3), seen()
    store(teacher, "logits", tmp_path)
    plan = label_shards(tmp_path, views)
    assert len(plan) == 3
    before, times = [plan.path(k).read_bytes() for k in range(3)], [plan.path(k).stat().st_mtime_ns for k in range(3)]
    plan.path(1).unlink()
    store(teacher, "logits", tmp_path)
    assert [plan.path(k).read_bytes() for k in range(3)] == before
    assert [plan.path(k).stat().st_mtime_ns == times[k] for k in range(3)] == [True, False, True]


def test_labels_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tiny_teacher(3), "logits", tmp_path)
    monkeypatch.setattr("ddselect.relabel.stored.VERSION", 99)
    with pytest.raises(UserError, match=rf"labels of version {VERSION}, which this version \(99\) cannot use"):
        StoredLabels(tmp_path, seen())(torch.zeros(4, 3, 16, 16), 0)


def test_labels_that_do_not_fit_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(UserError, match=r"relabel.keep=logits: 0.0 GiB are needed in .*; use relabel=live"):
        store(tiny_teacher(3), "logits", tmp_path)
    assert "3 passes over 7 images, 3 logits each in fp16: 0.0 MiB of labels" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_kept_is_checked() -> None:
    with pytest.raises(UserError, match=r"relabel.keep=all: choose nothing, logits, features or quantised"):
        RelabelConfig("all", "all")


def test_quantised_labels_are_near_and_come_again(tmp_path: Path) -> None:
    """A pass in two is stored: its views, and its labels with them, are those of the next pass."""
    teacher, views = tiny_teacher(3), seen(repeats=2)
    facts = store(teacher, "quantised", tmp_path, views)
    width = teacher.network.get_classifier().in_features  # type: ignore[operator]
    assert facts == {"passes": 2, "label_bytes": (width + 8) * 7 * 2, "width": width}
    labels, plain = StoredLabels(tmp_path, views), seen()
    for step in range(6):
        other, shown = (one.mixed(*one.batch(s)[:3:2], s).images for one, s in ((plain, step % 4), (views, step)))
        assert torch.equal(shown, other)
        features = teacher.features(shown)
        exact, near = teacher.head(features), labels(shown, step)
        weight = teacher.network.get_classifier().weight  # type: ignore[operator]
        spread = (features.max() - features.min()) * weight.abs().sum(1).max()
        assert 0 < (near - exact).abs().max() < spread / 255
    assert not torch.equal(views.batch(0)[0], views.batch(2)[0])


@pytest.mark.parametrize("keep", ["logits", "features"])
def test_a_student_learns_from_stored_labels_what_it_learns_live(keep: str, tmp_path: Path) -> None:
    """The same weights up to the rounding of the labels, and exactly the same from the labels read twice."""
    teacher, protocol = tiny_teacher(3), replace(ALL_KINDS, learning_rate=1e-3, epochs=2)
    with torch.no_grad():
        teacher.network.get_classifier().weight.mul_(30)  # type: ignore[operator]
    views = seen(protocol)
    store(teacher, keep, tmp_path, views)

    def trained(labeller: LiveTeacher | StoredLabels) -> list[float]:
        model = StudentConfig("small_resnet16", "small_resnet16").build(3, [0.5] * 3, [0.5] * 3, 0, 16)
        module = StudentModule(model, seen(protocol), labeller, nothing_to_test())
        optimizer, losses = torch.optim.SGD(model.parameters(), 0.1), []
        for step in range(4):
            loss = module.training_step(module.views.batch(step), 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    live, first, second = trained(LiveTeacher(teacher)), *(trained(StoredLabels(tmp_path, views)) for _ in range(2))
    assert first == second
    assert first == pytest.approx(live, rel=1e-2)
