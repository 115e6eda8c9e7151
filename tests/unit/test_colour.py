"""Colour augmentation: torchvision's operations, and AlexNet's light."""

from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional

from ddselect.student.colour import adjust, jitter, lighting, shade

ADJUST = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_image_is_adjusted_as_torchvision_does_in_its_order() -> None:
    orders = torch.tensor(list(permutations(range(3))))
    images = torch.rand(6, 3, 9, 9, generator=generator())
    factors = torch.rand(6, 3, generator=generator(1)) * 1.6
    out = adjust(images, factors, orders)
    for image, order, factor, found in zip(images, orders.tolist(), factors.tolist(), out, strict=True):
        for kind in order:
            image = ADJUST[kind](image, factor[kind])
        torch.testing.assert_close(found, image, atol=1e-6, rtol=1e-5)


def test_jitter_draws_factors_around_one() -> None:
    """Of a grey image only brightness remains to be seen: contrast and saturation leave it as it is."""
    out = jitter(torch.full((4000, 3, 2, 2), 0.5), 0.4, generator())[:, 0, 0, 0] / 0.5
    assert out.min().item() == pytest.approx(0.6, abs=2e-3)
    assert out.max().item() == pytest.approx(1.4, abs=2e-3)
    assert out.mean().item() == pytest.approx(1.0, abs=0.015)
    assert out.std().item() == pytest.approx(0.8 / 12**0.5, abs=0.01)  # uniform


def test_jitter_stays_in_range() -> None:
    out = jitter(torch.rand(50, 3, 8, 8, generator=generator()), 0.9, generator())
    assert out.min() >= 0
    assert out.max() <= 1


def test_shade_by_hand() -> None:
    """One standard deviation of the first component is nearly grey: -0.5675, -0.5808, -0.5836 times 0.2175."""
    found = shade(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    expected = torch.tensor([[-0.12343, -0.12632, -0.12693], [0.00180, -0.00366, 0.00189]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_lighting_adds_one_colour_to_an_image() -> None:
    images = torch.rand(3000, 3, 2, 2, generator=generator())
    added = lighting(images, 0.1, generator(1)) - images
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), atol=1e-6, rtol=0)
    colours = added[:, :, 0, 0]
    assert colours.mean(0).abs().max() < 1e-3
    expected = 0.1 * torch.tensor([0.5675, 0.5808, 0.5836]) * 0.2175  # the other two components add little
    torch.testing.assert_close(colours.std(0), expected, rtol=0.05, atol=0)
