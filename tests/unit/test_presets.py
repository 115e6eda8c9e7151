"""The protocols of the field, figure by figure, as they are built and called in training."""

import json
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch

from ddselect.options import options
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.live import LiveTeacher
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student import module as training
from ddselect.student import views as seeing
from ddselect.student.mixing import Mix
from ddselect.student.module import StudentModule
from ddselect.student.settings import StudentConfig
from ddselect.student.train import student_views, train_student
from ddselect.student.views import TrainingSet, Views
from tests.helpers.data import nothing_to_test
from tests.helpers.models import tiny_teacher
from tests.helpers.protocols import preset

THIRDS = pytest.approx([3 / 4, 4 / 3], abs=1e-5)
PUBLISHED = ["rded", "rded_mixup", "fkd", "rd3", "hard", "bps", "fadrm", "cim"]
PUBLISHED += ["edc", "edc_cifar100", "edc_tinyimagenet", "edc_imagenet1k"]


def distilled(ipc: int | None, classes: int, side: int = 8) -> TrainingSet:
    """Images of class k are k / classes bright, with noise; all are stitched of 2 x 2."""
    labels = torch.arange(classes).repeat(ipc or 600)
    noise = torch.rand(len(labels), 3, side, side, generator=torch.Generator().manual_seed(0))
    images = (200 * (labels / classes)[:, None, None, None] + 50 * noise).to(torch.uint8)
    return TrainingSet(images, labels, torch.ones(len(labels), dtype=torch.bool), 2, ipc)


def built(
    protocol: ProtocolConfig, ipc: int | None = 10, classes: int = 10, student: str = "resnet50", rate: float = 1e-3
) -> StudentModule:
    """What trains a student of this name; its network is a small one, of which nothing here depends."""
    soft = protocol.labels == "soft"
    side = 8 if classes <= 10 else 1
    return StudentModule(
        tiny_teacher(classes).requires_grad_(True),
        student_views(distilled(ipc, classes, side), protocol, StudentConfig(student, student, rate, "fp32"), 0),
        LiveTeacher(tiny_teacher(classes)) if soft else None,
        nothing_to_test(),
    )


def rates(module: StudentModule) -> list[float]:
    """The learning rate of the first step of every epoch, and of the step after the last."""
    parts = module.configure_optimizers()
    optimizer, scheduler = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    assert parts["lr_scheduler"]["interval"] == "step"
    found = []
    for step in range(module.views.total + 1):
        if step % module.views.per_pass == 0:
            found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def decay(module: StudentModule) -> dict[str, float]:
    """Weight decay of parameters of several dimensions and of one."""
    found: dict[str, set[float]] = {"matrices": set(), "vectors": set()}
    for group in module.configure_optimizers()["optimizer"].param_groups:
        for parameter in group["params"]:
            found["matrices" if parameter.ndim > 1 else "vectors"].add(group["weight_decay"])
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def calls(module: StudentModule, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """What a training step calls, in order, with the arguments that are no tensors."""
    seen: dict[str, tuple[Any, ...]] = {}
    names = ("shuffle_patches", "crop_resize", "flip", "jitter", "lighting", "one_patch", "dsa", "cutmix", "mixup")
    for name in (*names, "randaugment", "soft_label_loss", "class_label_loss"):
        place = training if name.endswith("_loss") else seeing
        original = getattr(place, name)

        def spy(*given: Any, name: str = name, original: Any = original) -> Any:
            seen[name] = tuple(value for value in given if not isinstance(value, torch.Tensor | torch.Generator))
            return original(*given)

        monkeypatch.setattr(place, name, spy)
    module.training_step(module.views.batch(0), 0)
    return {name: values if name != "randaugment" else () for name, values in seen.items()}


def epochs_of_tests(module: StudentModule) -> list[float]:
    return [mark / module.views.per_pass for mark in module.tests]


def test_rded(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW 1e-3, .9 / .999, .01 and none on vectors; ends at half; KL at T = 20; CutMix; tests from 80 % on."""
    module = built(preset("rded"))
    optimizer = module.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.AdamW
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    assert decay(module) == {"matrices": 0.01, "vectors": 0.0}
    assert (module.views.batch_size, module.views.per_pass, module.views.total) == (50, 2, 600)
    found = rates(module)
    for epoch in (0, 1, 100, 150, 240, 299):
        assert found[epoch] == pytest.approx(1e-3 * 0.5 * (1 + cos(pi * epoch / 600)))
    assert found[300] == pytest.approx(5e-4)
    assert list(calls(module, monkeypatch).items()) == [
        ("shuffle_patches", (2,)),
        ("crop_resize", ([0.5, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("cutmix", (1.0,)),
        ("soft_label_loss", ("kl", 20.0)),
    ]
    assert epochs_of_tests(module) == [250, 260, 270, 280, 290, 300]
    for size, resized in ((224, 256), (128, 144), (64, 72), (32, 32)):
        assert preset("rded").margin(size) * size == pytest.approx(resized)


@pytest.mark.parametrize(
    ("ipc", "classes", "batch"),
    [(1, 10, 10), (10, 10, 50), (50, 10, 100), (20, 10, 50), (1, 100, 20), (10, 100, 100), (50, 100, 200),
     (1, 200, 100), (10, 200, 100), (50, 200, 100), (1, 5, 5)],
)  # fmt: skip
def test_batch_of_rded(ipc: int, classes: int, batch: int) -> None:
    """Doubled from 100 classes on, 100 for Tiny-ImageNet (200 classes), never above the set."""
    assert built(preset("rded"), ipc, classes).views.batch_size == batch


def test_rded_on_cifar100_with_convnet3() -> None:
    """A batch of 25 at 2e-3, for this student alone."""
    for student, batch, rate in (("convnet3_bn", 25, 2e-3), ("resnet18", 100, 1e-3)):
        module = built(preset("rded"), 10, 100, student)
        assert (module.views.batch_size, rates(module)[0]) == (batch, rate)
    assert built(preset("rded"), 10, 10, "convnet3_bn").views.batch_size == 50


def test_rded_takes_the_students_rate() -> None:
    assert rates(built(preset("rded"), rate=2.5e-3))[0] == 2.5e-3


def test_rded_with_mixup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alpha .8, T = 4; the rest is RDED's."""
    seen = calls(built(preset("rded_mixup")), monkeypatch)
    assert (seen["mixup"], seen["soft_label_loss"]) == ((0.8,), ("kl", 4.0))
    assert "cutmix" not in seen
    changed = {"name", "mixing", "alpha", "temperature"}
    a, b = vars(preset("rded_mixup")), vars(preset("rded"))
    assert {key for key in a if a[key] != b[key]} == changed


def test_fkd(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW 1e-3 / .01, cosine to 0, batch 1024, area (.08, 1), CutMix, T = 20; Resize 256, CenterCrop 224."""
    module = built(preset("fkd"), ipc=30, classes=100, rate=5e-3)
    optimizer = module.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.AdamW
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    assert decay(module) == {"matrices": 0.01, "vectors": 0.0}
    assert (module.views.batch_size, module.views.per_pass, module.views.total) == (1024, 3, 900)
    assert built(preset("fkd"), ipc=10, classes=10).views.batch_size == 100
    found = rates(module)
    for epoch in (0, 1, 100, 150, 299):
        assert found[epoch] == pytest.approx(1e-3 * 0.5 * (1 + cos(pi * epoch / 300)))
    assert found[300] == pytest.approx(0, abs=1e-12)
    assert list(calls(built(preset("fkd")), monkeypatch).items()) == [
        ("crop_resize", ([0.08, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("cutmix", (1.0,)),
        ("soft_label_loss", ("kl", 20.0)),
    ]
    for size, resized in ((224, 256), (64, 64 * 256 / 224)):
        assert preset("fkd").margin(size) * size == pytest.approx(resized, abs=1e-3)


def test_rd3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam 1e-3, 400 epochs, batch 50, zeta 1 for a ResNet-18 and 2 otherwise; views and test as RDED's."""
    module = built(preset("rd3"), ipc=10, rate=5e-3)
    optimizer = module.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.Adam
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    assert decay(module) == {"matrices": 0.0, "vectors": 0.0}
    assert (module.views.batch_size, module.views.per_pass, module.views.total) == (50, 2, 800)
    assert built(preset("rd3"), ipc=50, classes=200).views.batch_size == 50
    found = rates(module)
    for epoch in (0, 1, 200, 399):
        assert found[epoch] == pytest.approx(1e-3 * 0.5 * (1 + cos(pi * epoch / 800)))
    assert found[400] == pytest.approx(5e-4)
    for name in ("resnet18", "resnet18_in"):
        found = rates(built(preset("rd3"), student=name))
        for epoch in (0, 1, 200, 399):
            assert found[epoch] == pytest.approx(1e-3 * 0.5 * (1 + cos(pi * epoch / 400)))
    assert list(calls(module, monkeypatch).items()) == [
        ("shuffle_patches", (2,)),
        ("crop_resize", ([0.5, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("cutmix", (1.0,)),
        ("soft_label_loss", ("kl", 20.0)),
    ]
    assert epochs_of_tests(module) == [330, 340, 350, 360, 370, 380, 390, 400]
    assert preset("rd3").margin(224) * 224 == pytest.approx(256)


def test_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD .01, momentum .9, 5e-4 on everything, times .2 at 2/3 and 5/6; area (.5, 1), jitter .4, light .1, CutMix."""
    module = built(preset("hard"), ipc=50, rate=5e-3)
    optimizer = module.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.SGD
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.9, False)}
    assert decay(module) == {"matrices": 5e-4, "vectors": 5e-4}
    assert (module.views.batch_size, module.views.per_pass, module.views.total) == (
        64,
        8,
        12000,
    )  # 7 of 64, and one of 52
    found = rates(module)
    for epoch, rate in ((0, 0.01), (999, 0.01), (1000, 0.002), (1249, 0.002), (1250, 0.0004), (1499, 0.0004)):
        assert found[epoch] == pytest.approx(rate)
    assert module.labeller is None
    assert list(calls(module, monkeypatch).items()) == [
        ("crop_resize", ([0.5, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("jitter", (0.4,)),
        ("lighting", (0.1,)),
        ("cutmix", (1.0,)),
        ("class_label_loss", ()),
    ]
    assert preset("hard").margin(224) == preset("hard").margin(64) == 1
    assert len(module.tests) == 100


@pytest.mark.parametrize(
    ("ipc", "ten", "hundred"),
    [(1, 3000, 2000), (2, 2000, 1300), (10, 2000, 1300), (11, 1500, 1000), (20, 1500, 1000), (50, 1500, 1000),
     (51, 1000, 600), (200, 1000, 600), (201, 500, 300), (500, 500, 300), (501, 300, 200), (None, 300, 200)],
)  # fmt: skip
def test_epochs_of_hard(ipc: int | None, ten: int, hundred: int) -> None:
    """Two thirds, floored to a hundred, for exactly 100 classes."""
    for classes, epochs in ((10, ten), (99, ten), (100, hundred), (101, ten), (1000, ten)):
        assert preset("hard").resolve("convnet6", 1e-3, ipc, classes).epochs == epochs
    given = preset("hard", "protocol.epochs=90").resolve("convnet6", 1e-3, ipc, 100)
    assert given.epochs == 90
    assert preset("hard", "protocol.steps=7").resolve("convnet6", 1e-3, ipc, 100).total_steps(100, 10) == 7


def test_hard_with_more_than_100_classes() -> None:
    """Rate .1, decay 1e-4, batch at least 128."""
    for classes, rate, weight, batch in ((100, 0.01, 5e-4, 64), (101, 0.1, 1e-4, 128), (1000, 0.1, 1e-4, 128)):
        module = built(preset("hard"), 10, classes)
        assert module.configure_optimizers()["optimizer"].param_groups[0]["lr"] == rate
        assert decay(module) == {"matrices": weight, "vectors": weight}
        assert module.views.batch_size == batch
    assert built(preset("hard", "protocol.batch_size=256"), 10, 1000).views.batch_size == 256


def test_last_milestones_are_floored() -> None:
    """2/3 and 5/6 of 1000 epochs are the epochs 666 and 833."""
    protocol = preset("hard").resolve("convnet6", 1e-3, 100, 10)
    found = [protocol.rate(epoch * 16, 16000, 16) for epoch in (665, 666, 832, 833)]
    assert found == pytest.approx([1, 0.2, 0.2, 0.04])
    assert [protocol.rate(step, 16000, 16) for step in (666 * 16 - 1, 666 * 16)] == pytest.approx([1, 0.2])


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_view_can_be_made_again_from_seed_and_step(name: str) -> None:
    first, again = built(preset(name)), built(preset(name))

    def seen(views: Views, step: int) -> Mix:
        images, _, stitched, _ = views.batch(step)
        return views.mixed(images, stitched, step)

    torch.manual_seed(1)
    a = seen(first.views, 1)
    torch.manual_seed(2)
    b = seen(again.views, 1)
    assert torch.initial_seed() == 2
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.partner, b.partner)
    assert a.share == b.share
    assert not torch.equal(a.images, seen(again.views, 2).images)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_student_learns(name: str, tmp_path: Path) -> None:
    short = ("epochs=0", "steps=60", "evaluate_from=0", "evaluations=3")
    protocol = preset(name, *(f"protocol.{change}" for change in short))
    data, student = distilled(8, 4), StudentConfig("small_resnet16", "small_resnet16", 1e-3, "fp32")
    teacher = tiny_teacher(4)
    with torch.no_grad():  # an untrained teacher says nearly the same of every image
        teacher.network.get_classifier().weight.mul_(100)  # type: ignore[operator]
    facts = train_student(
        model=student.build(4, [0.5] * 3, [0.5] * 3, 0, 8),
        views=student_views(data, protocol, student, 0),
        precision="fp32",
        labeller=LiveTeacher(teacher) if protocol.labels == "soft" else None,
        tests=nothing_to_test(),
        make_trainer=TrainerConfig().single,
        folder=tmp_path,
        name=name,
    )
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert facts["steps"] == 60
    assert losses[0] > 1.1 * losses[-1] > 0


def test_all_published_protocols_are_tested_here() -> None:
    assert set(options("protocol")) == {*PUBLISHED, "digits", "digits_hard"}
