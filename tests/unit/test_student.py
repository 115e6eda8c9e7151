"""Training: any step can be done again alone, and only what should decay does."""

from dataclasses import replace
from itertools import pairwise
from math import pi
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.errors import NumericalError
from ddselect.student.losses import class_label_loss
from ddselect.student.models import Classifier, build_network
from ddselect.student.module import StudentModule, checkpoint_steps
from ddselect.student.views import TrainingSet, Views
from tests.helpers.data import nothing_to_test


def data(count: int = 10) -> TrainingSet:
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    stitched = torch.arange(count) % 2 == 0
    return TrainingSet(images, torch.arange(count) % 2, stitched, 2, count // 2)


def module(protocol: ProtocolConfig, seed: int = 0, count: int = 10) -> StudentModule:
    model = Classifier(build_network("small_resnet16", 2, None), [0.5] * 3, [0.5] * 3)
    views = Views(data(count), replace(protocol, learning_rate=1e-3), seed)
    return StudentModule(model, views, None, nothing_to_test())


def batches(student: StudentModule, done: int) -> list[tuple]:
    """What the training loader gives after some steps: those up to the next checkpoint."""
    student.trainer = SimpleNamespace(global_step=done)  # type: ignore[assignment]
    return list(student.train_dataloader())


def test_each_pass_shows_every_image_once() -> None:
    student = module(ProtocolConfig("p", steps=15, batch_size=2, evaluations=1))
    seen = batches(student, 0)
    assert [step for *_, step in seen] == list(range(15))
    passes = []
    for start in (0, 5, 10):
        images = torch.cat([images for images, *_ in seen[start : start + 5]])
        assert {i.numpy().tobytes() for i in images} == {i.numpy().tobytes() for i in student.views.data.images}
        passes.append(images)
    assert not torch.equal(passes[0], passes[1])


def test_a_batch_above_the_set_shows_images_as_evenly_as_it_can() -> None:
    student = module(ProtocolConfig("p", steps=6, batch_size=7, evaluations=1), count=4)
    counts = torch.stack([torch.bincount(student.views.rows(step), minlength=4) for step in range(6)])
    assert counts.sum(1).tolist() == [7] * 6
    assert counts.min() == 1
    assert counts.max() == 2
    assert len({tuple(row) for row in counts.tolist()}) > 1


def test_the_smaller_batch_of_a_pass_is_left_out_or_kept() -> None:
    for length, sizes in (({"steps": 6}, [4, 4] * 3), ({"epochs": 2}, [4, 4, 2] * 2)):
        student = module(ProtocolConfig("p", batch_size=4, evaluations=1, **length))
        seen = batches(student, 0)
        assert [len(labels) for _, labels, *_ in seen] == sizes
        if "epochs" in length:
            images = torch.cat([images for images, *_ in seen[:3]])
            assert {i.numpy().tobytes() for i in images} == {i.numpy().tobytes() for i in student.views.data.images}


def test_steps_are_the_same_wherever_training_goes_on() -> None:
    whole = batches(module(ProtocolConfig("p", steps=12, batch_size=4, evaluations=1)), 0)
    parts = module(ProtocolConfig("p", steps=12, batch_size=4, evaluations=3))
    later = [batch for done in (0, 4, 8) for batch in batches(parts, done)]
    assert len(whole) == len(later) == 12
    for a, b in zip(whole, later, strict=True):
        assert a[3] == b[3]
        assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))


def test_augmentation_of_a_step_is_a_function_of_seed_and_step() -> None:
    protocol = ProtocolConfig("p", steps=10, shuffle=True, area=[0.5, 1.0])
    first, again, other = module(protocol), module(protocol), module(protocol, seed=1)
    images, _, stitched, _ = batches(first, 0)[0]
    torch.manual_seed(5)
    a, b = first.views.mixed(images, stitched, 3), again.views.mixed(images, stitched, 3)
    assert torch.equal(a.images, b.images)
    assert a.share == b.share
    assert not torch.equal(a.images, first.views.mixed(images, stitched, 4).images)
    assert not torch.equal(a.images, other.views.mixed(images, stitched, 3).images)
    assert a.images.min() >= 0
    assert a.images.max() <= 1


def test_only_stitched_images_are_shuffled() -> None:
    student = module(ProtocolConfig("p", steps=10, shuffle=True, area=[1.0, 1.0], flip=False, mixing="none"))
    images, stitched = student.views.data.images, student.views.data.stitched
    out = (student.views.mixed(images, stitched, 0).images * 255).round().to(torch.uint8)
    same = torch.tensor([torch.equal(x, y) for x, y in zip(out, images, strict=True)])
    assert same[~stitched].all()
    assert not same[stitched].all()


@pytest.mark.parametrize("mixing", ["cutmix", "mixup", "none"])
def test_hard_labels_are_weighted_by_the_share(mixing: str) -> None:
    student = module(ProtocolConfig("p", steps=10, labels="hard", mixing=mixing)).eval()
    images, labels, stitched, step = batches(student, 0)[0]
    mix = student.views.mixed(images, stitched, step)
    with torch.no_grad():
        logs = student.model(mix.images).log_softmax(1)
    rows = torch.arange(len(labels))
    expected = -(mix.share * logs[rows, labels] + (1 - mix.share) * logs[rows, labels[mix.partner]]).mean()
    torch.testing.assert_close(student.training_step((images, labels, stitched, step), 0), expected)


@pytest.mark.parametrize("decay_vectors", [False, True])
def test_vectors_decay_only_if_asked(decay_vectors: bool) -> None:
    student = module(ProtocolConfig("p", steps=10, weight_decay=0.01, decay_vectors=decay_vectors))
    optimizer = student.configure_optimizers()["optimizer"]
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in student.named_parameters():
        assert decays.pop(id(parameter)) == (0.01 if parameter.ndim > 1 or decay_vectors else 0), name
    assert not decays
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}


def test_a_second_pass_through_the_student_is_one_of_its_batch_norm_alone() -> None:
    """As RDED's loop has it: the mixed batch goes through the student in training mode without gradient, then again."""
    twice, plain = (module(ProtocolConfig("p", steps=10, labels="hard", batch_norm_updates=n)) for n in (2, 1))
    plain.load_state_dict(twice.state_dict())
    batch = batches(twice, 0)[0]
    images = plain.views.mixed(batch[0], batch[2], batch[3]).images
    with torch.no_grad():
        plain.model(images)
    losses = [student.training_step(batch, 0) for student in (twice, plain)]
    torch.testing.assert_close(losses[0], losses[1])
    statistics = [dict(student.model.named_buffers()) for student in (twice, plain)]
    names = [name for name in statistics[0] if "running" in name]
    assert names
    for name in names:
        torch.testing.assert_close(statistics[0][name], statistics[1][name])


def test_the_optimiser_follows_the_protocols_rate() -> None:
    protocol = ProtocolConfig("p", epochs=4, batch_size=5, zeta=2.0)
    parts = module(protocol).configure_optimizers()
    rates = []
    for _ in range(8):
        rates.append(parts["optimizer"].param_groups[0]["lr"])
        parts["optimizer"].step()
        parts["lr_scheduler"]["scheduler"].step()
    expected = [1e-3 * 0.5 * (1 + float(torch.cos(torch.tensor(pi * e / 8)))) for e in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tests", "kept"),
    [
        ([8], [8]),
        ([100], [100]),
        ([101], [50, 101]),
        ([10, 340], [10, 92, 175, 257, 340]),
        ([60_000, 75_000], [*range(750, 75_001, 750)]),  # 300 passes over 50,000 images, 200 at a time
    ],
)
def test_a_training_is_kept_at_its_tests_and_evenly_between_them(tests: list[int], kept: list[int]) -> None:
    assert checkpoint_steps(tests) == kept


@pytest.mark.parametrize("total", [1, 99, 1601, 10_001, 10**6])
@pytest.mark.parametrize("evaluations", [1, 6, 100])
@pytest.mark.parametrize("evaluate_from", [0.0, 0.8])
def test_a_kill_costs_a_hundredth_or_a_hundred_steps(total: int, evaluations: int, evaluate_from: float) -> None:
    tests = ProtocolConfig("p", steps=total, evaluations=evaluations, evaluate_from=evaluate_from).evaluation_steps(
        total
    )
    kept = checkpoint_steps(tests)
    assert set(tests) <= set(kept)
    assert len(kept) <= len(tests) + 100
    assert all(0 < b - a <= max(100, -(-total // 100)) for a, b in pairwise([0, *kept]))


def test_class_labels_of_an_image_of_several_classes_count_by_area() -> None:
    logits, labels = torch.randn(3, 4), torch.tensor([[0, 1, 2, 3], [1, 1, 1, 1], [2, 0, 2, 0]])
    shares = F.one_hot(labels, 4).float().mean(1)
    torch.testing.assert_close(class_label_loss(logits, labels), F.cross_entropy(logits, shares))
    one = labels[:, 0]
    assert torch.equal(class_label_loss(logits, one), F.cross_entropy(logits, one))
    assert torch.equal(class_label_loss(logits, one[:, None]), F.cross_entropy(logits, one))


@pytest.mark.parametrize(
    ("protocol", "precision", "advice"),
    [
        ("p", "32-true", "lower protocol.learning_rate"),
        ("p", "bf16-mixed", "lower protocol.learning_rate or set student.precision=fp32"),
        ("teacher", "32-true", "lower teacher.recipe.learning_rate"),
        ("teacher", "bf16-mixed", "lower teacher.recipe.learning_rate or set teacher.student.precision=fp32"),
    ],
)
def test_a_loss_that_is_not_finite_comes_with_advice_that_changes_something(
    protocol: str, precision: str, advice: str
) -> None:
    module: Any = SimpleNamespace(
        trainer=SimpleNamespace(precision=precision, strategy=SimpleNamespace(reduce=lambda losses, **_: losses)),
        _losses=[torch.tensor(torch.nan)],
        _since_test=torch.empty(0),
        protocol=SimpleNamespace(name=protocol),
        global_step=3,
    )
    with pytest.raises(NumericalError, match=rf"before step 3 \(protocol {protocol}\); {advice}$"):
        StudentModule.on_train_epoch_end(module)
