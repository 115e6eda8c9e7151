"""timm's models, those of the field under its names and in the form that small images need."""

from typing import Any

from torch import nn

from ddselect.runtime.errors import UserError, sentence
from ddselect.student.networks import convolution, instance_norm

SMALL = 64  # pixels up to which a ResNet's stem keeps the resolution
NAMES = {
    "resnet18_in": "resnet18",
    "mobilenet_v2": "mobilenetv2_100",
    "vit_tiny": "vit_tiny_patch16_224",
    "deit_tiny": "deit_tiny_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def patch_size(architecture: str, image_size: int) -> int | None:
    """Side in pixels of the patches of ``vit_tiny``, ``deit_tiny`` and ``swin_tiny``; None for other architectures.

    Swin keeps its 4 pixels. A plain transformer has the published 16, for images up to 64 pixels 8 and up to 32
    pixels 4, so that 32- and 64-pixel images have 64 patches.
    """
    if architecture == "swin_tiny":
        return 4
    if architecture in ("vit_tiny", "deit_tiny"):
        return 4 if image_size <= 32 else 8 if image_size <= SMALL else 16
    return None


def timm_network(architecture: str, num_classes: int, image_size: int | None, pretrained: bool = False) -> nn.Module:
    """A timm model by a name of :data:`NAMES` or of timm.

    ResNet-18 to -152 have the CIFAR stem for images up to 64 pixels (He et al. 2016, section 4.2, as dataset
    distillation does): a 3 x 3 convolution of stride 1 and no pooling. Models made for images of one size are made for
    this one. Swin trains without stochastic depth, whose draws would come from global state. A size in pixels of None
    is that of the published form. A tag of weights after a dot in the name matters to pretrained ones.

    Raises:
        UserError: The size does not suit the model, or the pretrained weights cannot be had.
    """
    import timm

    name = NAMES.get(architecture, architecture)
    name = name if pretrained else name.split(".")[0]
    own: dict[str, Any] = {
        "resnet18_in": {"norm_layer": instance_norm},
        "swin_tiny": {"drop_path_rate": 0.0},
    }
    options = dict(own.get(architecture, {}))
    if image_size is not None:
        if (side := patch_size(architecture, image_size)) is not None:
            options["patch_size"] = side
        published = timm.get_pretrained_cfg(name)
        if published is not None and published.fixed_input_size and image_size != published.input_size[-1]:
            options["img_size"] = image_size
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
    except (OSError, RuntimeError, AssertionError, TypeError, ValueError) as error:
        said = sentence(error)
        if pretrained and isinstance(error, OSError | RuntimeError):
            raise UserError(
                f"pretrained weights of '{architecture}' are not in the local cache and the hub was not reached "
                f"({said}); fetch them on a connected machine, or set teacher=trained"
            ) from None
        if "img_size" in options:
            raise UserError(
                f"architecture '{architecture}' cannot be made for images of {image_size} pixels ({said}); set "
                "dataset.image_size or choose another student"
            ) from None
        raise
    if image_size is not None and image_size <= SMALL and name in _RESNETS:
        network.conv1 = convolution(3, network.conv1.out_channels, 3)  # type: ignore[arg-type, union-attr]
        network.maxpool = nn.Identity()
    return network


def fixed_side(network: nn.Module) -> int | None:
    """Side in pixels of the only images that a timm model takes; None if it takes others."""
    patches = getattr(network, "patch_embed", None)
    if getattr(patches, "strict_img_size", False) and getattr(patches, "img_size", None):
        return int(patches.img_size[0])  # type: ignore[union-attr]
    return None
