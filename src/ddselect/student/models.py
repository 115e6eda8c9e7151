"""Classifiers by name: students and teachers share one wrapper with the normalisation inside."""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddselect.runtime.errors import UserError, brief
from ddselect.runtime.hardware import convolution_layout
from ddselect.student import timm_models
from ddselect.student.convnet import ConvNet
from ddselect.student.networks import SMALLEST, ResNetAP10, SmallResNet, instance_norm
from ddselect.student.ranks import has_batch_norm

_SMALL_RESNETS = {f"small_resnet{width}": width for width in (16, 32, 64)}
_CONVNETS: dict[str, tuple[int, Callable[[int], nn.Module]]] = {  # depth and norm
    f"convnet{depth}{suffix}": (depth, norm)
    for depth in (3, 4, 5, 6)
    for suffix, norm in (("", instance_norm), ("_bn", nn.BatchNorm2d))
}
_OWN = (*_SMALL_RESNETS, *_CONVNETS, "resnetap10")


class Classifier(nn.Module):
    """A network with its input normalisation and, for a subset of its classes, their outputs.

    Attributes:
        network: A timm model, or one with the same ``forward_features`` / ``forward_head`` / ``get_classifier``.
        columns: Outputs that belong to the dataset's classes, in class order; None for all.
        side: Side in pixels of the only images that the network takes, to which others are resized; None if it takes
            any.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], columns: list[int] | None = None
    ) -> None:
        super().__init__()
        self.network, self.columns = network.to(memory_format=_layout(network)), columns
        self.side = network.image_size if isinstance(network, ConvNet) else timm_models.fixed_side(network)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) float in [0, 1] to penultimate features (N, D)."""
        if self.side not in (None, images.shape[-1]):
            images = F.interpolate(images, self.side, mode="bilinear", antialias=True)
        maps = self.network.forward_features((images - self.mean) / self.std)  # type: ignore[operator]
        return self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]

    def head(self, features: Tensor) -> Tensor:
        """Penultimate features (N, D) to logits (N, K)."""
        logits: Tensor = self.network.get_classifier()(features)  # type: ignore[operator]
        return logits if self.columns is None else logits[:, self.columns]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) float in [0, 1] to logits (N, K)."""
        return self.head(self.features(images))

    def pad_black(self, images: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        """Pads (left, right, top, bottom) with what is 0 after normalisation, as padding a normalised image does."""
        return F.pad(images - self.mean, padding) + self.mean


def _layout(network: nn.Module) -> torch.memory_format:
    """The memory format in which a network is fastest here; plain for a ConvNet's instance norms on a processor."""
    if isinstance(network, ConvNet) and not has_batch_norm(network) and not torch.cuda.is_available():
        return torch.contiguous_format
    return convolution_layout(network)


def last_layer(model: Classifier) -> tuple[Tensor, Tensor]:
    """Weight (K, D) and bias (K,) of a model's last layer, for the dataset's classes.

    Raises:
        UserError: The layer is not linear.
    """
    layer = model.network.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear):
        raise UserError(
            f"the teacher's last layer is {type(layer).__name__}, not linear; use relabel=live and no ensemble"
        )
    weight, bias = layer.weight.detach(), torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
    return (weight, bias) if model.columns is None else (weight[model.columns], bias[model.columns])


def check_network(build: Callable[[], Classifier], sides: Iterable[int], what: str, remedy: str) -> None:
    """Refuses a classifier that cannot be built, or that cannot take square images of some sides in pixels.

    It is built without weights, which costs next to nothing; only where that fails, with random ones.

    Args:
        build: Makes it.
        sides: The sides, in the order in which they are tried.
        what: What it is, for messages.
        remedy: What to do where it cannot take them.

    Raises:
        UserError: As ``build`` does, or it fails in another way.
    """
    wrong = ""
    for device in ("meta", "cpu"):
        doing = "be built"
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
                model = build()
                for side in sides:
                    doing = f"take images of {side} pixels"
                    model(torch.zeros(2, 3, side, side))
            return
        except UserError:
            raise
        except Exception as error:  # of any kind, as the libraries have it
            wrong = f"{what} cannot {doing} ({brief(error)}); {remedy}"
    raise UserError(wrong)


def check_image_size(architecture: str, image_size: int) -> None:
    """Refuses images whose size an architecture of ``conf/student/`` cannot take; needs no heavy library.

    Its side is in pixels; names other than those there are not judged.

    Raises:
        UserError: The size does not suit the architecture.
    """
    least, step = 1, timm_models.patch_size(architecture, image_size) or 1
    if architecture in _CONVNETS:
        least = 2 ** _CONVNETS[architecture][0]
    elif architecture in ("resnetap10", "resnet18_in"):
        least = SMALLEST
    elif architecture == "swin_tiny":
        least = 8 * step  # its patches are merged 2 x 2 three times
    if image_size < least or image_size % step:
        steps = f", in steps of {step}" if step > 1 else ""
        raise UserError(
            f"architecture '{architecture}' takes images of {max(least, step)} pixels or more{steps}, not of "
            f"{image_size}; set dataset.image_size or choose another student"
        )


def check_published(architecture: str) -> None:
    """Refuses an architecture of ours or of timm that has no published weights, or none of the name after its dot.

    Raises:
        UserError: So it is; other names are not judged.
    """
    if architecture in (*_OWN, "resnet18_in"):
        raise UserError(f"there are no pretrained weights of '{architecture}'; set teacher=trained")
    from timm.models import is_model, is_model_pretrained, list_pretrained  # takes seconds to import

    name = timm_models.NAMES.get(architecture, architecture)
    if is_model(name) and not is_model_pretrained(name):
        known = ", ".join(list_pretrained(f"{name.split('.')[0]}.*")) or "none"
        raise UserError(f"timm has no weights '{architecture}'; those of this architecture are {known}")


def build_network(architecture: str, num_classes: int, image_size: int | None, pretrained: bool = False) -> nn.Module:
    """A network by the field's name: one of ``conf/student/``, ``small_resnet32``, or any timm model.

    The image size is the side in pixels that stems, patches and last layers are made for, None for the form in which
    the architecture is published. timm's pretrained weights fit that form: the size changes nothing then.

    Raises:
        UserError: The name is unknown, the size does not suit it, or the pretrained weights cannot be had.
    """
    if pretrained:
        check_published(architecture)
    if image_size is not None:
        check_image_size(architecture, image_size)
    if architecture in _SMALL_RESNETS:
        return SmallResNet(num_classes, _SMALL_RESNETS[architecture])
    if architecture in _CONVNETS:
        if image_size is None:
            raise UserError(f"architecture '{architecture}' is made for images of one size, and none is given")
        return ConvNet(num_classes, image_size, *_CONVNETS[architecture])
    if architecture == "resnetap10":
        return ResNetAP10(num_classes, image_size)
    import timm  # takes seconds, which only its own models need

    if not timm.is_model(timm_models.NAMES.get(architecture, architecture)):
        own = [name for name in (*_OWN, *timm_models.NAMES) if name.startswith(architecture[:6])]
        close = ", ".join((own + timm.list_models(f"*{architecture[:6]}*"))[:5])
        raise UserError(f"unknown architecture '{architecture}'{f'; did you mean one of {close}?' if close else ''}")
    return timm_models.timm_network(architecture, num_classes, None if pretrained else image_size, pretrained)
