"""Every architecture of the field: its size as published, what small images change, what it can and cannot take."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddselect.config import build_experiment
from ddselect.options import options
from ddselect.pipeline import run
from ddselect.runtime.errors import UserError
from ddselect.schema import build
from ddselect.student.models import Classifier, build_network, check_image_size
from ddselect.student.settings import StudentConfig
from tests.config.test_options import composed

HALF = [0.5] * 3
NAMES = options("student")
INSTANCE = ["convnet3", "convnet4", "convnet5", "convnet6", "resnetap10", "resnet18_in"]
SMALLEST = {"convnet6": 64, "convnet6_bn": 64, "convnet5": 32, "convnet5_bn": 32, "swin_tiny": 32}  # others: 16
TRAINED = {**SMALLEST, "mobilenet_v2": 64, "efficientnet_b0": 64, "resnet50": 8, "resnet101": 8}  # quick, yet enough


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def maps(network: nn.Module, size: int) -> Tensor:
    """What ``forward_features`` gives for one image of a size."""
    with torch.no_grad():
        found: Tensor = network.eval().forward_features(torch.rand(1, 3, size, size))  # type: ignore[operator]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_options_have_the_names_of_their_architectures(name: str) -> None:
    student = build(composed(f"student={name}"), "student")
    assert (student.name, student.architecture) == (name, name)


def test_learning_rates_under_soft_labels() -> None:
    rates = {name: build(composed(f"student={name}"), "student").learning_rate for name in NAMES}
    others = {"efficientnet_b0": 2e-3, "mobilenet_v2": 2.5e-3, "vit_tiny": 1e-4, "deit_tiny": 1e-4, "swin_tiny": 1e-4}
    assert rates == {**dict.fromkeys(NAMES, 1e-3), **others, "small_resnet16": 4e-3}


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_small_images(name: str, size: int) -> None:
    if size < SMALLEST.get(name, 16):
        return
    model = Classifier(build_network(name, 7, size), HALF, HALF).eval()
    images = torch.rand(1, 3, size, size)
    with torch.no_grad():
        assert model(images).shape == (1, 7)
        assert model.head(model.features(images)).shape == (1, 7)


@pytest.mark.parametrize("name", ["convnet6", "resnetap10", "resnet18", "mobilenet_v2", "vit_tiny", "swin_tiny"])
def test_logits_of_large_images(name: str) -> None:
    with torch.no_grad():
        assert Classifier(build_network(name, 7, 224), HALF, HALF).eval()(torch.rand(1, 3, 224, 224)).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "classes", "size", "parameters"),
    [
        ("convnet3", 10, 32, 320_010),
        ("convnet3_bn", 10, 32, 320_010),
        ("convnet4", 200, 64, 857_160),
        ("resnet18", 10, 32, 11_173_962),
        ("resnet18", 1000, 224, 11_689_512),
        ("resnet18_in", 1000, 224, 11_689_512),
        ("resnet50", 10, 32, 23_520_842),
        ("resnet50", 1000, 224, 25_557_032),
        ("resnet101", 1000, 224, 44_549_160),
        ("mobilenet_v2", 1000, 224, 3_504_872),
        ("efficientnet_b0", 1000, 224, 5_288_548),
        ("vit_tiny", 1000, 224, 5_717_416),
        ("deit_tiny", 1000, 224, 5_717_416),
        ("swin_tiny", 1000, 224, 28_288_354),
    ],
)
def test_numbers_of_parameters_as_published(name: str, classes: int, size: int, parameters: int) -> None:
    assert count(build_network(name, classes, size)) == parameters


def test_resnetap_is_a_resnet_of_four_blocks() -> None:
    """Its stem, blocks of two convolutions and shortcuts, summed up from their shapes."""
    stem, head = 3 * 64 * 49 + 128, 512 * 10 + 10
    blocks = sum(9 * i * o + 9 * o * o + 4 * o for i, o in ((64, 64), (64, 128), (128, 256), (256, 512)))
    shortcuts = sum(i * o + 2 * o for i, o in ((64, 128), (128, 256), (256, 512)))
    network = build_network("resnetap10", 10, 224)
    assert count(network) == stem + blocks + shortcuts + head
    assert all(m.stride == (1, 1) for m in network.modules() if isinstance(m, nn.Conv2d))
    assert not any(isinstance(m, nn.BatchNorm2d | nn.MaxPool2d) for m in network.modules())


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("resnet18", 32, 4),
        ("resnet18", 64, 8),
        ("resnet18", 65, 3),
        ("resnet18", 224, 7),
        ("resnet18_in", 32, 4),
        ("resnet50", 32, 4),
        ("resnet101", 32, 4),
        ("resnetap10", 32, 4),
        ("resnetap10", 64, 8),
        ("resnetap10", 128, 8),
        ("resnetap10", 224, 7),
        ("convnet3", 32, 4),
        ("convnet6", 224, 3),
    ],
)
def test_resolution_of_the_last_maps(name: str, size: int, side: int) -> None:
    assert maps(build_network(name, 2, size), size).shape[2:] == (side, side)


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [("vit_tiny", 32, 64), ("deit_tiny", 64, 64), ("vit_tiny", 96, 36), ("vit_tiny", 28, 49), ("vit_tiny", 224, 196)],
)
def test_patches_of_transformers_fit_the_images(name: str, size: int, tokens: int) -> None:
    assert maps(build_network(name, 2, size), size).shape == (1, tokens + 1, 192)


def test_the_stem_of_small_images_keeps_the_resolution() -> None:
    network = build_network("resnet18", 2, 32)
    x = torch.rand(1, 3, 32, 32)
    assert network.maxpool(network.conv1(x)).shape == (1, 64, 32, 32)
    published = build_network("resnet18", 2, None)
    assert published.maxpool(published.conv1(x)).shape == (1, 64, 8, 8)


@pytest.mark.parametrize("name", INSTANCE)
def test_instance_norm_looks_at_each_image_alone(name: str) -> None:
    size = SMALLEST.get(name, 16)
    torch.manual_seed(0)
    model = Classifier(build_network(name, 3, size), HALF, HALF).train()
    images = torch.rand(3, 3, size, size)
    with torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.05)])
@pytest.mark.parametrize("size", [16, 21])
def test_a_convnet_that_takes_a_few_images_at_a_time_is_its_plain_layers(
    size: int, bf16: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddselect.student.convnet._CACHED", 2 * 128 * size**2)
    torch.manual_seed(0)
    network = Classifier(build_network("convnet3", 3, size), HALF, HALF).network
    plain = nn.Sequential(*(nn.Sequential(*block[:-1], nn.AvgPool2d(2)) for block in network.body))  # type: ignore[union-attr]
    weights = [w for name, w in plain.named_parameters() if not name.endswith("0.bias")]  # no norm lets these through
    images, slope = torch.rand(5, 3, size, size), torch.randn(5, 128, size // 8, size // 8)
    found = []
    for body in (network.body, plain):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = body(images).float()  # type: ignore[operator]
        # in bf16 the gradients of both are far from those in fp32
        found.append([out.detach(), *(() if bf16 else torch.autograd.grad(out, weights, slope))])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_batch_norm_looks_at_the_batch() -> None:
    model = Classifier(build_network("convnet3_bn", 3, 16), HALF, HALF).train()
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(model(images)[0], model(images[:2])[0])


@pytest.mark.parametrize(
    ("name", "size", "wanted"),
    [
        ("convnet3", 4, "8 pixels or more, not of 4"),
        ("convnet4_bn", 15, "16 pixels or more, not of 15"),
        ("convnet6", 32, "64 pixels or more, not of 32"),
        ("resnetap10", 8, "16 pixels or more, not of 8"),
        ("resnet18_in", 15, "16 pixels or more, not of 15"),
        ("vit_tiny", 30, "4 pixels or more, in steps of 4, not of 30"),
        ("deit_tiny", 60, "8 pixels or more, in steps of 8, not of 60"),
        ("vit_tiny", 100, "16 pixels or more, in steps of 16, not of 100"),
        ("swin_tiny", 28, "32 pixels or more, in steps of 4, not of 28"),
        ("swin_tiny", 225, "32 pixels or more, in steps of 4, not of 225"),
    ],
)
def test_sizes_that_cannot_work_are_refused(name: str, size: int, wanted: str) -> None:
    message = f"^architecture '{name}' takes images of {wanted}; set dataset.image_size or choose another student$"
    for refuse in (
        lambda: check_image_size(name, size),
        lambda: StudentConfig("s", name).check(size),
        lambda: build_network(name, 2, size),
    ):
        with pytest.raises(UserError, match=message):
            refuse()


def test_sizes_that_another_timm_model_cannot_take_are_refused() -> None:
    with pytest.raises(UserError, match=r"^architecture 'xcit_nano_12_p16_224' cannot be made for images of 50 pixels"):
        build_network("xcit_nano_12_p16_224", 2, 50)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet.r160_in1k"])
@pytest.mark.parametrize("size", [64, 160])
def test_any_timm_model_takes_the_size_of_the_images(name: str, size: int) -> None:
    with torch.no_grad():
        model = Classifier(build_network(name, 3, size), HALF, HALF).eval()
        assert model(torch.rand(1, 3, size, size)).shape == (1, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_reduce_the_loss_and_draw_nothing(name: str) -> None:
    size = TRAINED.get(name, 16)
    model = StudentConfig("s", name).build(2, HALF, HALF, 0, size).train()
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, size, size, generator=generator), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    state, first = torch.random.get_rng_state(), torch.inf
    for step in range(5):
        loss = F.cross_entropy(model(images), labels)
        if step == 0:
            first = loss.item()
        elif loss.item() < 0.95 * first:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.95 * first
    assert torch.equal(torch.random.get_rng_state(), state)  # no dropout that a resumed training would draw otherwise


def test_a_student_that_cannot_take_the_images_is_refused_before_any_work(tmp_path: Path) -> None:
    experiment = build_experiment(composed("student=convnet6", f"store={tmp_path / 'store'}"))
    with pytest.raises(UserError, match="architecture 'convnet6' takes images of 64 pixels or more, not of 32"):
        run(experiment, tmp_path)
    assert not (tmp_path / "store").exists()
