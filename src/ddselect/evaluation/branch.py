"""A distilled set and its student on their way through the stages."""

from dataclasses import dataclass, replace

from ddselect.config import MethodConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.store import StageResult
from ddselect.student.settings import StudentConfig


@dataclass(frozen=True)
class Trial:
    """One selection, seed, protocol and student on its way through the stages.

    Attributes:
        arm: Selection and composition.
        seed: Seed of the selection and the student.
        protocol: How its distilled set trains.
        student: Whom it trains.
        stages: Stages finished so far by name, in order.
    """

    arm: MethodConfig
    seed: int
    protocol: ProtocolConfig
    student: StudentConfig
    stages: dict[str, StageResult]

    @property
    def pool(self) -> StageResult:
        """The index of the images that it selects from."""
        return self.stages.get("pool", self.stages["index"])

    @property
    def training(self) -> StageResult:
        """The student's stage, once it is trained."""
        return self.stages["student"]

    def with_stage(self, done: StageResult) -> "Trial":
        """This branch with one more stage finished."""
        return replace(self, stages={**self.stages, done.name: done})

    def training_by(self, protocol: ProtocolConfig, student: StudentConfig) -> "Trial":
        """The same distilled set under another protocol, for another student."""
        return replace(self, protocol=protocol, student=student)
