"""The ``embed`` group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.embed.prior import PriorNetwork
from ddselect.prompt.conditions import Conditions
from ddselect.runtime.errors import UserError, at_least, shares
from ddselect.runtime.store import execution
from ddselect.student.models import Classifier, build_network, check_network, check_published

VERSION = 2  # of what the stage writes
Prior = tuple[Denoiser, Conditions]


class Embedder(Protocol):
    """Anything that has features of images."""

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) float in [0, 1] to features (N, D)."""
        ...


@dataclass
class EmbedConfig:
    """How candidates are embedded: by the teacher; see ``conf/embed/``."""

    name: str
    batch_size: int = execution(256)
    workers: int = execution(-1)

    by_teacher: ClassVar[bool] = True  # whether the network is the teacher
    asks_prior: ClassVar[bool] = False  # whether it is the diffusion prior

    def __post_init__(self) -> None:
        at_least(1, "embed", self, "batch_size")
        at_least(-1, "embed", self, "workers")

    def network(self, prior: Callable[[], Prior]) -> Embedder:
        """The network whose features are taken, in evaluation mode, where that is not the teacher.

        ``prior`` loads the diffusion prior and the conditions of the dataset's classes.

        Raises:
            UserError: It cannot be had.
        """
        raise UserError(f"embed {self.name}: class {type(self).__name__} has no network of its own")

    def check_network(self, sides: Sequence[int]) -> None:
        """Refuses, before any work, a network that there is not or that cannot take what is composed at some sides.

        Raises:
            UserError: So it is.
        """

    def shown(self, side: int) -> int:
        """Side in pixels at which it is shown what is composed at a side of ``side`` pixels."""
        return side


@dataclass
class TimmEmbedConfig(EmbedConfig):
    """A pretrained timm model instead of the teacher."""

    architecture: str = field(kw_only=True)
    size: int = field(default=0, kw_only=True)

    by_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, "embed", self, "size")

    def check_network(self, sides: Sequence[int]) -> None:
        check_published(self.architecture)
        check_network(
            lambda: Classifier(build_network(self.architecture, 1000, None), [0.0] * 3, [1.0] * 3),
            [self.shown(side) for side in sides],
            f"embed.architecture={self.architecture}",
            "set embed.size=<pixels>, to which it has them resized, or choose another",
        )

    def network(self, prior: Callable[[], Prior]) -> Embedder:
        network = build_network(self.architecture, 1000, None, pretrained=True)
        from timm.data import resolve_model_data_config  # seconds to import

        data = resolve_model_data_config(network)
        return Classifier(network, data["mean"], data["std"]).eval().requires_grad_(False)

    def shown(self, side: int) -> int:
        return self.size or side


@dataclass
class BackboneEmbedConfig(EmbedConfig):
    """The middle of the diffusion prior's own network: one evaluation of it for each crop and whole image.

    The condition is the reference that images are scored against, which says nothing of the class; without one
    (``prompt=none``) it is the only condition.
    """

    size: int = field(kw_only=True)
    level: float = field(default=0.2, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    by_teacher: ClassVar[bool] = False
    asks_prior: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "embed", self, "size")
        shares("embed", self, "level")

    def network(self, prior: Callable[[], Prior]) -> Embedder:
        denoiser, conditions = prior()
        denoiser.latent_shape(self.size)
        denoiser.install(conditions.table)
        condition = conditions.positive[0] if conditions.reference is None else conditions.reference
        return PriorNetwork(denoiser, condition, self.level, self.seed)

    def shown(self, side: int) -> int:
        return self.size
