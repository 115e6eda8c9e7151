"""The ``features`` group."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution
from ddselect.student.models import Classifier, build_network

VERSION = 1  # of what the stage writes


@dataclass
class Features:
    """How candidates are embedded: by the teacher; see ``conf/features/``.

    Attributes:
        name: What candidates are embedded by.
        shard_size: Images per shard.
        batch_size: Images per call of the teacher.
        workers: Image-loading processes; 0 loads in the main one, -1 chooses.
    """

    name: str
    shard_size: int = 2000
    batch_size: int = execution(256)
    workers: int = execution(-1)

    def __post_init__(self) -> None:
        for name, least in (("shard_size", 1), ("batch_size", 1), ("workers", -1)):
            if getattr(self, name) < least:
                raise UserError(f"features.{name}={getattr(self, name)}: at least {least} is needed")

    def network(self, teacher: Callable[[], Classifier]) -> Classifier:
        """The network whose penultimate features are taken, in evaluation mode; ``teacher`` loads the teacher.

        Raises:
            UserError: It cannot be had.
        """
        return teacher()

    def shown(self, side: int) -> int:
        """Side in pixels at which it is shown what is composed at a side of ``side`` pixels."""
        return side


@dataclass
class TimmFeatures(Features):
    """A pretrained timm model instead of the teacher.

    Attributes:
        architecture: timm name, with its weights' tag where it has several.
        size: Side in pixels that crops and whole images are resized to; 0 for that at which they are composed.
    """

    architecture: str = field(kw_only=True)
    size: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 0:
            raise UserError(f"features.size={self.size}: at least 0 is needed")

    def network(self, teacher: Callable[[], Classifier]) -> Classifier:
        network = build_network(self.architecture, 1000, None, pretrained=True)
        from timm.data import resolve_model_data_config  # seconds to import

        data = resolve_model_data_config(network)
        return Classifier(network, data["mean"], data["std"]).eval().requires_grad_(False)

    def shown(self, side: int) -> int:
        return self.size or side
