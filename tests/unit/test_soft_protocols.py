"""The protocols of EDC, BPS, FADRM and CIM: figure by figure as they are built, and a few steps beside a plain loop."""

from copy import deepcopy
from math import cos, pi
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ddselect.relabel.live import LiveTeacher
from ddselect.runtime.errors import NumericalError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.models import Classifier
from ddselect.student.module import StudentModule
from ddselect.student.settings import StudentConfig
from ddselect.student.train import student_views, train_student
from ddselect.student.validation import TestSet
from tests.helpers.models import tiny_teacher
from tests.helpers.protocols import preset
from tests.unit.test_presets import THIRDS, built, calls, decay, distilled, epochs_of_tests, rates

STEPS = 4


def test_edc(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10: AdamW, halved at 800, 900, 950; mean squared error plus .025 cross-entropy; RandAugment; EMA .99."""
    module = built(preset("edc"), 1, rate=5e-3)
    assert type(module.configure_optimizers()["optimizer"]) is torch.optim.AdamW
    assert decay(module) == {"matrices": 0.01, "vectors": 0.0}
    assert (module.views.batch_size, module.views.total) == (10, 1000)
    found = rates(module)
    for epoch, share in (
        (0, 1),
        (799, 1),
        (800, 0.5),
        (899, 0.5),
        (900, 0.25),
        (949, 0.25),
        (950, 0.125),
        (999, 0.125),
    ):
        assert found[epoch] == pytest.approx(1e-3 * share)
    assert list(calls(module, monkeypatch).items()) == [
        ("randaugment", ()),
        ("crop_resize", ([0.08, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("cutmix", (1.0,)),
        ("soft_label_loss", ("mse_logits", 20.0)),
        ("class_label_loss", ()),
    ]
    assert (module.protocol.class_share, module.protocol.ema) == (0.025, 0.99)
    assert preset("edc").statistics() == ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761])
    assert preset("edc").margin(32) == 1
    assert (epochs_of_tests(module)[0], len(module.tests)) == (810, 20)


def test_edc_on_other_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD by cos2 on CIFAR-100 and Tiny-ImageNet; AdamW in a straight line, without RandAugment, on ImageNet-1K."""
    sizes = {"edc_cifar100": (50, 1000), "edc_tinyimagenet": (100, 300), "edc_imagenet1k": (100, 300)}
    for name, size in sizes.items():
        assert (preset(name).batch_size, preset(name).epochs) == size
        assert preset(name).area == [0.5, 1.0]
        assert (preset(name).ema, preset(name).class_share, preset(name).loss) == (0.99, 0.025, "mse_logits")
    module = built(preset("edc_cifar100"))
    optimizer = module.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.SGD
    assert {group["momentum"] for group in optimizer.param_groups} == {0.875}
    assert decay(module) == {"matrices": 5e-4, "vectors": 0.0}
    found = rates(module)
    for epoch in (0, 1, 500, 833):
        assert found[epoch] == pytest.approx(0.1 * 0.5 * (1 + cos(pi * epoch / 2000)))
    for epoch in (834, 900, 999):
        assert found[epoch] == pytest.approx(0.1 * 0.5 * (1 + cos(5 * pi / 12)) * (1 - epoch / 1000))
    assert "randaugment" in calls(module, monkeypatch)
    module = built(preset("edc_imagenet1k"))
    assert type(module.configure_optimizers()["optimizer"]) is torch.optim.AdamW
    found = rates(module)
    for epoch in (0, 1, 150, 299):
        assert found[epoch] == pytest.approx(1e-3 * (1 - epoch / 600))
    assert "randaugment" not in calls(module, monkeypatch)
    assert preset("edc_imagenet1k").margin(224) * 224 == pytest.approx(256, abs=1e-3)
    assert (
        preset("edc_imagenet1k").statistics() == preset("edc_tinyimagenet").statistics() == preset("hard").statistics()
    )


def test_bps(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW 1e-3 with .01 on everything; ends at half; KL at T = 20 times T^2; the best of the last 21 epochs."""
    module = built(preset("bps"), rate=5e-3)
    assert type(module.configure_optimizers()["optimizer"]) is torch.optim.AdamW
    assert decay(module) == {"matrices": 0.01, "vectors": 0.01}
    assert module.views.total / module.views.per_pass == 500
    found = rates(module)
    for epoch in (0, 1, 250, 499):
        assert found[epoch] == pytest.approx(1e-3 * 0.5 * (1 + cos(pi * epoch / 1000)))
    assert list(calls(module, monkeypatch).items()) == [
        ("crop_resize", ([0.1, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("cutmix", (1.0,)),
        ("soft_label_loss", ("kl_t2", 20.0)),
    ]
    assert epochs_of_tests(module) == pytest.approx(list(range(480, 501)), abs=0.2)
    assert preset("bps").normalisation == "imagenet"


@pytest.mark.parametrize(
    ("classes", "ipc", "smallest", "batch"),
    [(10, 10, 0.1, 16), (10, 50, 0.2, 16), (10, 100, 0.2, 32), (100, 10, 0.2, 32), (100, 50, 0.6, 64),
     (200, 10, 0.2, 32), (200, 50, 0.6, 64), (200, 100, 0.9, 128), (1000, 10, 0.2, 128), (1000, 50, 0.2, 256),
     (1000, 100, 0.2, 512)],
)  # fmt: skip
def test_crop_and_batch_of_bps(classes: int, ipc: int, smallest: float, batch: int) -> None:
    found = preset("bps").resolve("resnet18", 1.0, ipc, classes)
    assert (found.area, found.batch_size) == ([smallest, 1.0], batch)


def test_fadrm(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW .01, none on vectors; KL at T = 20; student and teacher see half a batch at a time."""
    module = built(preset("fadrm"), 10, 1000, "resnet18", 5e-3)
    assert type(module.configure_optimizers()["optimizer"]) is torch.optim.AdamW
    assert decay(module) == {"matrices": 0.01, "vectors": 0.0}
    assert (module.views.batch_size, module.views.total) == (16, 300 * 625)
    assert module.protocol.halves
    found = rates(built(preset("fadrm"), 1, 1000, "resnet18"))
    for epoch in (0, 1, 150, 299):
        assert found[epoch] == pytest.approx(1e-3 * 0.5 * (1 + cos(pi * epoch / 600)))
    assert list(calls(built(preset("fadrm")), monkeypatch).items()) == [
        ("crop_resize", ([0.08, 1.0], THIRDS, 0.0)),
        ("flip", ()),
        ("cutmix", (1.0,)),
        ("soft_label_loss", ("kl", 20.0)),
    ]


@pytest.mark.parametrize(
    ("student", "classes", "ipc", "expected"),
    [("resnet18", 1000, 10, (300, 16, 1e-3, 2)), ("resnet18", 1000, 50, (300, 16, 1e-3, 1)),
     ("resnet50", 1000, 1, (300, 16, 5e-4, 2)), ("resnet50", 1000, 10, (300, 16, 1e-3, 2)),
     ("resnet101", 1000, 1, (300, 16, 3.5e-3, 2)), ("resnet101", 1000, 50, (300, 16, 5e-4, 1)),
     ("resnet18", 200, 1, (1000, 16, 1e-3, 2)), ("resnet50", 200, 10, (300, 16, 5e-4, 2)),
     ("resnet18", 100, 1, (1000, 16, 5e-4, 2)), ("resnet18", 100, 50, (1000, 16, 1e-3, 1)),
     ("resnet50", 100, 1, (1000, 16, 1e-3, 1)), ("resnet101", 100, 10, (1000, 16, 5e-4, 1)),
     ("resnet18", 10, 1, (300, 10, 5e-4, 2)), ("resnet18", 10, 10, (300, 10, 5e-4, 1)),
     ("resnet18", 10, 50, (300, 10, 5e-4, 2)), ("resnet50", 10, 50, (300, 10, 5e-4, 1)),
     ("resnet101", 10, 50, (300, 10, 1e-3, 2))],
)  # fmt: skip
def test_table_of_fadrm(student: str, classes: int, ipc: int, expected: tuple[float, ...]) -> None:
    found = preset("fadrm").resolve(student, 9.0, ipc, classes)
    assert (found.epochs, found.batch_size, found.learning_rate, found.zeta) == expected


def test_cim(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW 1e-3, 1e-4 on everything, times .2 at 2/3 and 5/6; squared error to the logits; DSA, no CutMix; 4 tests."""
    module = built(preset("cim"), 10, rate=5e-3)
    assert type(module.configure_optimizers()["optimizer"]) is torch.optim.AdamW
    assert decay(module) == {"matrices": 1e-4, "vectors": 1e-4}
    assert (module.views.batch_size, module.views.total) == (50, 2000)
    found = rates(module)
    for epoch, share in ((0, 1), (665, 1), (666, 0.2), (832, 0.2), (833, 0.04), (999, 0.04)):
        assert found[epoch] == pytest.approx(1e-3 * share)
    for ipc, classes, batch, epochs in (
        (1, 10, 10, 1000),
        (50, 10, 50, 1000),
        (51, 10, 100, 1000),
        (10, 1000, 100, 300),
    ):
        resolved = preset("cim").resolve("resnet18", 1.0, ipc, classes)
        assert (resolved.batch_size, resolved.epochs) == (batch, epochs)
    assert preset("cim").resolve("resnet18", 1.0, 10, 1000).batch_size == 100
    seen = calls(module, monkeypatch)
    assert list(seen) == ["crop_resize", "one_patch", "dsa", "soft_label_loss"]
    assert (seen["crop_resize"][:2], seen["soft_label_loss"][0]) == (([1.0, 1.0], [1.0, 1.0]), "mse_logits")
    assert len(module.tests) == 4


def stepped(name: str) -> StudentModule:
    """A module after a few steps of a protocol, as Lightning takes them; its student is not its teacher."""
    module = built(preset(name), 10)
    torch.manual_seed(3)
    with torch.no_grad():
        for p in module.model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    if module.average:
        module.average.load_state_dict({"n_averaged": torch.tensor(0)}, strict=False)
        module.average.update_parameters(module.model)
    module.labeller = LiveTeacher(tiny_teacher(10), module.protocol.halves)
    module.model.train()
    return module


def steps_of(module: StudentModule) -> None:
    parts = module.configure_optimizers()
    for step in range(STEPS):
        loss = module.training_step(module.views.batch(step), step)
        parts["optimizer"].zero_grad()
        loss.backward()
        parts["optimizer"].step()
        parts["lr_scheduler"]["scheduler"].step()
        module.on_train_batch_end()


def plain_adamw(model: nn.Module, rate: float, weight: float, decays_vectors: bool) -> torch.optim.Optimizer:
    vectors = [p for p in model.parameters() if p.ndim == 1]
    matrices = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": weight if decays_vectors else 0.0}]
    return torch.optim.AdamW(groups, lr=rate, weight_decay=weight)


def kl(logits: Tensor, labels: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(logits / 20, 1), F.softmax(labels / 20, 1), reduction="batchmean")


def plain_loop(name: str, module: StudentModule, model: nn.Module, average: nn.Module) -> None:
    """The same steps in plain torch; what a protocol shows is the module's."""
    teacher, decays = tiny_teacher(10), {"edc": (1e-2, False), "bps": (1e-2, True), "fadrm": (1e-2, False)}
    rate = 5e-4 if name == "fadrm" else 1e-3
    optimizer = plain_adamw(model, rate, *decays.get(name, (1e-4, True)))
    for step in range(STEPS):
        images, labels, stitched, _ = module.views.batch(step)
        seen = module.views.mixed(images, stitched, step).images
        optimizer.zero_grad()
        if name == "fadrm":
            teacher.train()
            for part in seen.chunk(2):
                with torch.no_grad():
                    target = teacher(part)
                (kl(model(part), target) / 2).backward()
        else:
            with torch.no_grad():
                target = teacher(seen)
            logits = model(seen)
            loss = kl(logits, target) * 400 if name == "bps" else ((logits - target) ** 2).mean()
            if name == "edc":
                loss = loss + 0.025 * F.cross_entropy(logits, labels)
            loss.backward()
        optimizer.step()
        for mean, p in zip(average.parameters(), model.parameters(), strict=True):
            mean.data.mul_(0.99).add_(p.data, alpha=0.01)


@pytest.mark.parametrize("name", ["edc", "bps", "fadrm", "cim"])
def test_a_few_steps_are_those_of_a_plain_loop(name: str) -> None:
    module = stepped(name)
    model, average = deepcopy(module.model), deepcopy(module.model)
    plain_loop(name, module, model, average)
    steps_of(module)
    for own, other in zip(module.model.state_dict().values(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    expected = average if name == "edc" else model
    assert (module.tested is module.model) == (name != "edc")
    for own, other in zip(module.tested.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    for own, other in zip(module.tested.buffers(), module.model.buffers(), strict=True):
        assert own.equal(other)


def test_the_moving_average_is_tested_kept_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = preset(
        "edc", "protocol.epochs=0", "protocol.steps=6", "protocol.evaluations=2", "protocol.evaluate_from=0"
    )
    student, seen = StudentConfig("small_resnet16", "small_resnet16", 1e-3, "fp32"), list[dict[str, Tensor]]()

    tests, forward, most = (
        TestSet(torch.zeros(7, 3, 8, 8, dtype=torch.uint8), torch.arange(7), 10),
        Classifier.forward,
        9,
    )

    def noting(model: Classifier, images: Tensor) -> Tensor:
        if len(images) == len(tests):  # neither teacher nor training sees so many
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            if len(seen) == most:
                raise NumericalError("stop")
        return forward(model, images)

    def trained(folder: str) -> dict[str, Tensor]:
        train_student(
            model=student.build(10, [0.5] * 3, [0.5] * 3, 0, 8),
            views=student_views(distilled(10, 10), protocol, student, 0),
            precision="fp32",
            labeller=LiveTeacher(tiny_teacher(10)),
            tests=tests,
            make_trainer=TrainerConfig().single,
            folder=tmp_path / folder,
            name="x",
        )
        return load_file(tmp_path / folder / "student.safetensors")

    (tmp_path / "whole").mkdir()
    monkeypatch.setattr(Classifier, "forward", noting)
    whole = trained("whole")
    assert all(value.equal(whole[name]) for name, value in seen[-1].items())
    assert len(seen) == 2
    (tmp_path / "parts").mkdir()
    most = 4
    with pytest.raises(NumericalError):
        trained("parts")
    parts = trained("parts")
    assert all(value.equal(whole[name]) for name, value in parts.items())


def test_teachers_that_see_halves_stay_what_they_are() -> None:
    teacher, images = tiny_teacher(3), torch.rand(8, 3, 16, 16)
    before = {name: value.clone() for name, value in teacher.state_dict().items() if "num_batches" not in name}
    whole, halves = LiveTeacher(teacher)(images), LiveTeacher(teacher, in_halves=True)
    labels = halves(images)
    assert not torch.allclose(labels, whole)
    assert labels.equal(halves(images))
    assert torch.allclose(labels[:4], halves(images[:4].repeat(2, 1, 1, 1))[:4], atol=1e-5)
    assert all(value.equal(teacher.state_dict()[name]) for name, value in before.items())
