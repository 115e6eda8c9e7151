"""Convolutions and norms on a processor: the same as the plain ones, up to rounding."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.student import winograd
from ddselect.student.instance_block import norm_relu_pool
from ddselect.student.models import Classifier, build_network
from ddselect.student.winograd import WinogradConv2d, use_winograd


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Winograd's way even for a few images that do not fill their tiles."""
    monkeypatch.setattr(winograd, "_LEAST_TILES", 1)
    monkeypatch.setattr(winograd, "_MOST_WASTE", 9.0)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("shape", [(3, 64, 8, 8), (2, 64, 9, 14), (1, 96, 11, 8), (33, 64, 8, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_the_direct_convolution(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(shape[1], 80, 3, padding=1, bias=bias)
    images, weight, shift = torch.randn(shape), layer.weight.detach().double(), layer.bias
    ours = images.clone().requires_grad_()
    exact = images.double().requires_grad_()
    weight.requires_grad_()
    expected = F.conv2d(exact, weight, None if shift is None else shift.detach().double(), padding=1)
    use_winograd(layer)
    found = layer(ours)
    slope = torch.randn(found.shape)
    found.backward(slope)
    expected.backward(slope.double())
    assert ours.grad is not None
    assert exact.grad is not None
    assert layer.weight.grad is not None
    assert weight.grad is not None
    close(found, expected, 3e-5)
    close(ours.grad, exact.grad, 3e-5)
    close(layer.weight.grad, weight.grad, 3e-5)
    if layer.bias is not None:
        close(layer.bias.grad, slope.sum((0, 2, 3)).double(), 1e-5)  # type: ignore[arg-type]


def test_images_do_not_depend_on_each_other() -> None:
    layer = use_winograd(nn.Conv2d(64, 64, 3, padding=1))
    images = torch.randn(9, 64, 16, 16)
    with torch.no_grad():
        together = layer(images)
        for number, image in enumerate(images):
            torch.testing.assert_close(layer(image[None])[0], together[number], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "suitable"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3, stride=2, padding=1), False),
        (nn.Conv2d(64, 64, 3), False),
        (nn.Conv2d(64, 64, 1), False),
        (nn.Conv2d(64, 64, 3, padding=1, groups=64), False),
        (nn.Conv2d(64, 64, 3, padding=2, dilation=2), False),
        (nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(3, 64, 3, padding=1), False),
    ],
)
def test_only_suitable_layers_are_taken(layer: nn.Conv2d, suitable: bool) -> None:
    assert isinstance(use_winograd(nn.Sequential(layer))[0], WinogradConv2d) is suitable  # type: ignore[index]


def test_the_direct_way_is_gone_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, called = use_winograd(nn.Conv2d(64, 64, 3, padding=1)), []
    monkeypatch.setattr("ddselect.student.winograd._Winograd.apply", lambda *a: called.append(1) or F.conv2d(*a))  # type: ignore[func-returns-value]
    layer(torch.randn(1, 64, 7, 16))
    layer.double()(torch.randn(1, 64, 16, 16).double())
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(torch.randn(1, 64, 16, 16)).dtype == torch.bfloat16
    assert not called
    layer(torch.randn(1, 64, 16, 16))
    assert called


def test_a_classifier_keeps_its_names_of_weights() -> None:
    network = build_network("convnet3", 10, 32)
    names = list(network.state_dict())
    model = Classifier(network, [0.5] * 3, [0.5] * 3)
    assert list(model.network.state_dict()) == names
    assert sum(isinstance(layer, WinogradConv2d) for layer in model.modules()) == 2


@pytest.mark.parametrize("shape", [(3, 8, 6, 4), (5, 128, 32, 32)])
def test_norm_relu_and_pool_at_once(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = [2 * torch.randn(shape) + 3, torch.randn(shape[1]), torch.randn(shape[1])]
    ours, plain = ([v.clone().requires_grad_() for v in values] for _ in range(2))
    found = norm_relu_pool(*ours, 1e-5)
    expected = F.avg_pool2d(F.relu(F.group_norm(plain[0], shape[1], plain[1], plain[2], 1e-5)), 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    slope = torch.randn(found.shape)
    found.backward(slope)
    expected.backward(slope)
    for own, other in zip(ours, plain, strict=True):
        assert own.grad is not None
        assert other.grad is not None
        close(own.grad, other.grad, 2e-5)


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-5), (True, 0.05)])
def test_a_block_at_once_is_the_block_layer_by_layer(bf16: bool, tolerance: float) -> None:
    network = build_network("convnet3", 10, 16)
    images = torch.rand(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        at_once = network.forward_features(images)  # type: ignore[operator]
        maps = images
        for block in network.body:  # type: ignore[union-attr]
            for layer in block:
                maps = layer(maps)
    assert at_once.dtype == (torch.bfloat16 if bf16 else torch.float32)
    torch.testing.assert_close(at_once.float(), maps.float(), atol=tolerance, rtol=tolerance)


def test_a_block_in_bf16_is_computed_in_fp32() -> None:
    maps, weight, bias = torch.randn(3, 4, 6, 8).bfloat16(), torch.rand(4) + 0.5, torch.randn(4)
    ours = [t.clone().requires_grad_() for t in (maps, weight, bias)]
    exact = [t.float().requires_grad_() for t in (maps, weight, bias)]
    found, expected = norm_relu_pool(*ours, 1e-5), norm_relu_pool(*exact, 1e-5)
    assert torch.equal(found, expected.bfloat16())
    slope = torch.randn(found.shape).bfloat16()
    found.backward(slope)
    expected.backward(slope.float())
    for own, other in zip(ours, exact, strict=True):
        assert torch.equal(own.grad, other.grad.to(own.dtype))  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize(
    ("shape", "pays"),
    [
        ((50, 64, 64, 64), True),
        ((32, 512, 8, 8), True),
        ((10, 512, 8, 8), False),  # too few tiles
        ((50, 64, 9, 9), False),  # its tiles are 12 x 12
        ((500, 64, 4, 4), False),
    ],
)
def test_where_it_pays(shape: tuple[int, ...], pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert winograd._pays(torch.Size(shape)) is pays
