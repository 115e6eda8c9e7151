"""A distilled set and its student on their way through the stages."""

from dataclasses import dataclass, replace

from ddselect.config import Arm
from ddselect.protocol.recipe import Protocol
from ddselect.runtime.store import Done
from ddselect.student.settings import Student


@dataclass(frozen=True)
class Branch:
    """One selection, seed, protocol and student on its way through the stages.

    Attributes:
        arm: Selection and composition.
        seed: Seed of the selection and the student.
        protocol: How its distilled set trains.
        student: Whom it trains.
        stages: Stages finished so far by name, in order.
    """

    arm: Arm
    seed: int
    protocol: Protocol
    student: Student
    stages: dict[str, Done]

    @property
    def pool(self) -> Done:
        """The index of the images that it selects from."""
        return self.stages.get("pool", self.stages["index"])

    @property
    def training(self) -> Done:
        """The student's stage, once it is trained."""
        return self.stages["student"]

    def with_stage(self, done: Done) -> "Branch":
        """This branch with one more stage finished."""
        return replace(self, stages={**self.stages, done.name: done})

    def training_by(self, protocol: Protocol, student: Student) -> "Branch":
        """The same distilled set under another protocol, for another student."""
        return replace(self, protocol=protocol, student=student)
