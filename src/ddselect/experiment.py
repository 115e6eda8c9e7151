"""What a run does, all of it checked."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ddselect.backbone.choice import BackboneConfig
from ddselect.boxes.settings import BoxesConfig
from ddselect.composition.compose import Composition
from ddselect.dataset.folders import DatasetConfig
from ddselect.embed.settings import EmbedConfig
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.pilot.settings import PilotConfig
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.modes import PromptConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.settings import RelabelConfig
from ddselect.report.settings import ReportConfig
from ddselect.runtime.logger import LoggerConfig
from ddselect.runtime.store import describe
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.settings import ScoringConfig
from ddselect.selection.base import SelectionConfig
from ddselect.student.settings import StudentConfig
from ddselect.teacher.choice import TeacherConfig

_NO_RESULT = ("store", "stages", "dry_run", "report", "trainer", "logger", "presets", "config", "source")


@dataclass(frozen=True)
class MethodConfig:
    """A selection with its composition: one line of the comparison."""

    selection: SelectionConfig
    composition: Composition


@dataclass(frozen=True)
class Experiment:
    """Everything a run does, checked.

    Attributes:
        methods: The chosen selection first, then those it is compared with.
        stages: Names of the stages to make, with all that they need.
        plugins: Packages that it names beside those that are installed as plug-ins.
        dry_run: Whether to show what would be done instead of doing it.
        students: The chosen student first, then those that are trained on the same sets.
        protocols: The chosen protocol first, then the others under which they are trained.
        presets: Its protocols as their files have them, by name.
        config: The resolved config, as plain values.
        source: The config before its interpolations were resolved, as YAML: from it the experiment can be built again.
    """

    ipc: int
    seeds: list[int]
    store: Path
    stages: list[str]
    plugins: list[str]
    dry_run: bool
    dataset: DatasetConfig
    backbone: BackboneConfig
    prompt: PromptConfig
    pool: PoolConfig
    pilot: PilotConfig
    scoring: ScoringConfig
    boxes: BoxesConfig
    embed: EmbedConfig
    methods: list[MethodConfig]
    teacher: TeacherConfig
    relabel: RelabelConfig
    students: list[StudentConfig]
    protocols: list[ProtocolConfig]
    evaluation: EvaluationConfig
    report: ReportConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    presets: dict[str, ProtocolConfig]
    config: dict[str, Any]
    source: str

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the results, by key: neither how fast they are found, nor where they are kept or shown."""
        named = {f.name: describe(getattr(self, f.name), texts=True) for f in fields(self) if f.name not in _NO_RESULT}
        return {"selection": named.pop("methods"), **named}

    @property
    def student(self) -> StudentConfig:
        """The chosen student."""
        return self.students[0]

    @property
    def protocol(self) -> ProtocolConfig:
        """The chosen protocol."""
        return self.protocols[0]
