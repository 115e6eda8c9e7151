"""The ``features`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError
from ddselect.runtime.store import execution

VERSION = 1  # of what the stage writes


@dataclass
class Features:
    """How candidates are embedded; see ``conf/features/``.

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
