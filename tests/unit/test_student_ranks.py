"""What the ranks of one student share: the parts of a batch are the whole, and batch norm keeps what it was."""

import pytest
import torch
from torch import nn

from ddselect.runtime.errors import UserError
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.models import Classifier, build_network
from ddselect.student.ranks import has_batch_norm, part_of, share_batch_norm
from ddselect.student.settings import StudentConfig


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 50])
def test_the_mean_of_the_ranks_is_that_of_the_batch(count: int, ranks: int) -> None:
    values = torch.rand(count, dtype=torch.float64)
    parts = [part_of(count, rank, ranks) for rank in range(ranks)]
    mean = sum(factor * values[rows].mean() for rows, factor in parts) / ranks
    torch.testing.assert_close(mean, values.mean())
    seen = sorted(value for rows, _ in parts for value in range(count)[rows])
    if count < 2 * ranks:
        assert seen == sorted([*range(count)] * ranks)
    else:
        assert seen == [*range(count)]
        assert min(len(range(count)[rows]) for rows, _ in parts) >= 2


def test_one_rank_computes_the_batch_as_it_is() -> None:
    rows, factor = part_of(5, 0, 1)
    assert (list(range(5))[rows], factor) == ([0, 1, 2, 3, 4], 1.0)


@pytest.mark.parametrize("architecture", ["small_resnet16", "convnet3_bn", "resnet18", "mobilenet_v2"])
def test_shared_batch_norm_is_the_same_function_with_the_same_parameters(architecture: str) -> None:
    """mobilenet_v2 has its activations in timm's norms."""
    torch.manual_seed(0)
    network, images = build_network(architecture, 3, 32).eval(), torch.rand(2, 3, 32, 32)
    model = Classifier(network, [0.5] * 3, [0.5] * 3).eval()
    before, parameters, names = model(images), list(network.parameters()), list(network.state_dict())
    assert has_batch_norm(network)
    share_batch_norm(network)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert torch.equal(model(images), before)
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("architecture", ["convnet3", "resnetap10", "resnet18_in", "vit_tiny"])
def test_a_student_without_batch_norm_stays_as_it_is(architecture: str) -> None:
    network = build_network(architecture, 3, 32)
    assert not has_batch_norm(network)
    modules = list(network.modules())
    share_batch_norm(network)
    assert list(network.modules()) == modules


def test_batch_norm_is_refused_where_it_cannot_be_shared() -> None:
    state = torch.get_rng_state()
    StudentConfig("convnet3", "convnet3").check_ranks(32, "cpu")
    StudentConfig("convnet3_bn", "convnet3_bn").check_ranks(32, "gpu")
    with pytest.raises(UserError, match=r"student mine: batch norm is shared between GPUs only; .*student=convnet3"):
        StudentConfig("mine", "convnet3_bn").check_ranks(32, "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_student_trains_on_one_device_or_on_all() -> None:
    assert not TrainerConfig(devices=4).together
    settings = TrainerConfig(devices=4, student_devices=4, strategy="ddp")
    assert settings.together
    assert settings.students_at_once(9) == 1


def test_ranks_are_processes_of_their_own() -> None:
    with pytest.raises(UserError, match=r"^trainer.strategy=ddp_spawn: .*choose ddp$"):
        TrainerConfig(devices=2, strategy="ddp_spawn")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 4, "student_devices": 2}, "=2: choose 1 or 4, one device or all of trainer.devices=4"),
        ({"devices": 1, "student_devices": 0}, "=0: choose 1, one device or all of trainer.devices=1"),
        ({"devices": 2, "student_devices": 2, "strategy": "fsdp"}, "=2: students need trainer.strategy=ddp, not fsdp"),
        ({"devices": 2, "student_devices": 2, "students": 3}, "=2: one student trains at a time then, not trainer.st"),
    ],
)
def test_student_devices_that_cannot_be(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=f"^trainer.student_devices{message}"):
        TrainerConfig(**options)  # type: ignore[arg-type]
