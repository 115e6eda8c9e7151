"""What a stage is made for: one selection, seed, protocol and student of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddselect.runtime.store import StageResult

Facts = Mapping[str, Any]  # what a stage tells of its result


@dataclass(frozen=True)
class Trial:
    """One selection, seed, protocol and student, with the stages that are finished for it.

    Attributes:
        experiment: What the run does (:class:`ddselect.experiment.Experiment`).
        method: Selection and composition (:class:`ddselect.experiment.MethodConfig`).
        seed: Seed of the selection and the student.
        protocol: How the distilled set trains.
        student: Whom it trains.
        run_folder: Folder of the run, for training curves.
        stages: Finished stages by name, in order.
    """

    experiment: Any
    method: Any
    seed: int
    protocol: Any
    student: Any
    run_folder: Path | None = None
    stages: dict[str, StageResult] = field(default_factory=dict)

    @property
    def training(self) -> StageResult:
        """The student's stage, once it is trained."""
        return self.stages["student"]

    @property
    def images(self) -> StageResult:
        """The index of the images that are selected from."""
        return self.stages.get("pool", self.stages["index"])

    @property
    def image_count(self) -> int:
        """Training images that are selected from."""
        return int(self.images.facts["images"]["train"])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.stages["index"].facts["classes"])

    @property
    def ipc(self) -> int | None:
        """Images per class; None for all."""
        return self.experiment.ipc if self.method.selection.limit else None

    @property
    def view(self) -> int:
        """Side in pixels of the square view that is composed and trained on."""
        return int(self.experiment.dataset.image_size)

    @property
    def names(self) -> tuple[str, int, str, str]:
        """Selection, seed, protocol and student: what tells it from the others of its run."""
        return self.method.selection.name, self.seed, self.protocol.name, self.student.name

    @property
    def not_chosen(self) -> list[str]:
        """Names of its student and protocol where they are not the run's first."""
        e = self.experiment
        pairs = ((self.student.name, e.students[0].name), (self.protocol.name, e.protocols[0].name))
        return [name for name, chosen in pairs if name != chosen]

    @property
    def distilled(self) -> str:
        """What to call its distilled set."""
        return f"{self.method.selection.name}, seed {self.seed}"

    @property
    def name(self) -> str:
        """What to call it: by its student and protocol only where these are not the run's first."""
        return ", ".join([self.distilled, *self.not_chosen])

    def label(self, scope: str) -> str:
        """The same for folders and metrics: what tells results of a scope from others of their stage in a run."""
        parts = [f"{self.method.selection.name}-seed{self.seed}", *self.not_chosen]
        protocol = self.protocol.name if self.protocol.name in self.not_chosen else ""
        names = {"run": "", "protocol": protocol, "seed": f"seed{self.seed}", "method": parts[0]}
        return {**names, "student": "-".join(parts)}[scope]
