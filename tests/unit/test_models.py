"""Classifiers: normalisation inside, a choice of outputs, features and head that make the whole."""

import pytest
import torch
from torch.nn import functional as F

from ddselect.runtime.errors import UserError
from ddselect.student.models import Classifier, build_network
from ddselect.student.settings import StudentConfig
from tests.helpers.models import tiny_teacher

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


@pytest.mark.parametrize(
    "architecture", ["small_resnet16", "convnet3", "resnetap10", "resnet18", "test_vit", "test_efficientnet"]
)
def test_features_and_head_are_the_network_on_normalised_images(architecture: str) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, 7, 32).eval()
    images = torch.rand(2, 3, 32, 32)
    normalised = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        if architecture in ("small_resnet16", "convnet3", "resnetap10"):
            expected = network.forward_head(network.forward_features(normalised))
        else:
            expected = network(normalised)
        logits = Classifier(network, MEAN, STD)(images)
    assert logits.shape == (2, 7)
    torch.testing.assert_close(logits, expected)


def test_columns_choose_outputs_in_class_order() -> None:
    whole = tiny_teacher(5)
    part = Classifier(whole.network, [0.5] * 3, [0.5] * 3, [4, 0])
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(part(images), whole(images)[:, [4, 0]])
    assert torch.equal(part.features(images), whole.features(images))


def test_padding_is_zero_after_normalisation() -> None:
    model, images = Classifier(build_network("small_resnet16", 2, None), MEAN, STD), torch.rand(1, 3, 4, 4)
    padded = model.pad_black(images, (1, 2, 3, 0))
    expected = F.pad((images - model.mean) / model.std, (1, 2, 3, 0))
    torch.testing.assert_close((padded - model.mean) / model.std, expected)


@pytest.mark.parametrize(
    "architecture", ["small_resnet16", "convnet3", "resnetap10", "resnet18", "resnet18_in", "vit_tiny", "mobilenet_v2"]
)
def test_weights_of_a_student_depend_on_the_seed_alone(architecture: str) -> None:
    student = StudentConfig("s", architecture)
    torch.manual_seed(1)
    first = student.build(3, MEAN, STD, 0, 32).state_dict()
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again, other = (student.build(3, MEAN, STD, seed, 32).state_dict() for seed in (0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name, tensor in first.items() if tensor.ndim > 1 and tensor.any()]
    assert len(drawn) > 3
    assert not any(torch.equal(first[name], other[name]) for name in drawn)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_unknown_architectures_are_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown architecture 'resnet19'; did you mean one of .*resnet"):
        build_network("resnet19", 2, 32)
    with pytest.raises(UserError, match=r"unknown architecture 'convnet2'; did you mean one of convnet3, "):
        build_network("convnet2", 2, 32)
    with pytest.raises(UserError, match=r"student.precision=int8"):
        StudentConfig("s", "small_resnet16", precision="int8")
    with pytest.raises(UserError, match=r"student.learning_rate=0"):
        StudentConfig("s", "small_resnet16", learning_rate=0)


def test_pretrained_weights_that_cannot_be_had() -> None:
    with pytest.raises(
        UserError, match=r"pretrained weights of 'test_resnet.r160_in1k' are not in the local cache"
    ) as caught:
        build_network("test_resnet.r160_in1k", 1000, None, pretrained=True)
    assert "\n" not in str(caught.value)
    for architecture in ("convnet6", "resnet18_in"):
        with pytest.raises(UserError, match=f"no pretrained weights of '{architecture}'; set teacher=trained"):
            build_network(architecture, 1000, None, pretrained=True)


@pytest.mark.parametrize("architecture", ["convnet3", "vit_tiny", "swin_tiny"])
def test_a_network_for_one_size_sees_others_resized(architecture: str) -> None:
    """Selections show a teacher crops that are smaller than the images that it was trained on."""
    model = Classifier(build_network(architecture, 3, 32), MEAN, STD).eval()
    images = torch.rand(2, 3, 16, 16)
    larger = F.interpolate(images, (32, 32), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(larger))
    assert Classifier(build_network("resnet18", 3, 32), MEAN, STD).side is None


def test_batch_norm_binds_a_batch_together_in_training_alone() -> None:
    """Else a few images at a time go through, whose maps fit a processor's cache."""
    model = Classifier(build_network("convnet3_bn", 2, 32), MEAN, STD)
    images, sizes = torch.rand(40, 3, 32, 32), list[int]()
    first = model.network.get_submodule("body.0")
    first.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    with torch.no_grad():
        model.train()(images)
        assert sizes == [40]
        found = model.eval()(images)
        assert sizes[1:] == [16, 16, 8]
        torch.testing.assert_close(found, torch.cat([model(one) for one in images.split(1)]), rtol=1e-4, atol=1e-5)
