"""What a run does, all of it checked."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ddselect.backbone.choice import BackboneConfig
from ddselect.boxes.settings import BoxesConfig
from ddselect.composition.compose import Composition
from ddselect.dataset.folders import DatasetConfig
from ddselect.embed.settings import EmbedConfig
from ddselect.evaluation.objective import OBJECTIVES
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.pilot.settings import PilotConfig
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.modes import PromptConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.settings import RelabelConfig
from ddselect.report.settings import ReportConfig
from ddselect.runtime.errors import UserError
from ddselect.runtime.logger import LoggerConfig
from ddselect.runtime.store import describe
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.settings import ScoringConfig
from ddselect.selection.base import SelectionConfig
from ddselect.student.settings import StudentConfig
from ddselect.teacher.choice import TeacherConfig

_NO_RESULT = ("store", "stages", "dry_run", "report", "trainer", "logger", "presets", "config", "source")


@dataclass
class TopLevel:
    """The keys of ``conf/config.yaml`` outside the groups."""

    ipc: int = 10
    seeds: list[int] = field(default_factory=lambda: [0])
    compare: list[Any] = field(default_factory=list)
    students: list[str] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)
    objective: str = OBJECTIVES[0]
    store: str = "store"
    stages: list[str] = field(default_factory=lambda: ["report"])
    plugins: list[str] = field(default_factory=list)
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.ipc < 1:
            raise UserError(f"ipc={self.ipc}: at least 1 image per class is needed")
        if self.objective not in OBJECTIVES:
            raise UserError(f"objective={self.objective}: choose one of {', '.join(OBJECTIVES)}")
        if not self.stages:
            raise UserError("stages=[]: name at least one stage; stages=[report] is the whole way")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds={self.seeds}: different numbers are needed, e.g. seeds=[0,1,2]")

    def rivals(self) -> list[tuple[str, dict[str, Any]]]:
        """The selections of ``compare``, each with the settings that it has there."""
        found = []
        for named in self.compare:
            [(name, own)] = named.items() if isinstance(named, dict) and len(named) == 1 else [(named, {})]
            if not (isinstance(name, str) and isinstance(own, dict)):
                raise UserError(
                    f"compare: {named} is neither a selection nor one with settings, {{rded: {{whole: 0.5}}}}"
                )
            found.append((name, own))
        return found


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
