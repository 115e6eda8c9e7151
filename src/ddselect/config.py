"""From Hydra's DictConfig to checked dataclasses: an unknown key or a bad value is one line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ddselect.backbone.choice import BackboneConfig
from ddselect.boxes.settings import BoxesConfig
from ddselect.composition.compose import Composition
from ddselect.composition.settings import CompositionConfig
from ddselect.dataset.folders import DatasetConfig
from ddselect.embed.settings import EmbedConfig
from ddselect.evaluation.dd_ranking import NEEDED
from ddselect.evaluation.objective import OBJECTIVES
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.options import options
from ddselect.pilot.settings import PilotConfig
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.modes import PromptConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.settings import RelabelConfig
from ddselect.report.settings import ReportConfig
from ddselect.runtime.errors import UserError, choose
from ddselect.runtime.logger import LoggerConfig
from ddselect.runtime.trainer import TrainerConfig
from ddselect.schema import GROUPS, build, checked, read_option
from ddselect.scoring.settings import ScoringConfig
from ddselect.selection.base import SelectionConfig
from ddselect.student.settings import StudentConfig
from ddselect.teacher.choice import TeacherConfig
from ddselect.teacher.ensemble import EnsembleConfig, stored_member


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
    def student(self) -> StudentConfig:
        """The chosen student."""
        return self.students[0]

    @property
    def protocol(self) -> ProtocolConfig:
        """The chosen protocol."""
        return self.protocols[0]


def build_experiment(cfg: DictConfig) -> Experiment:
    """Checks a composed config and builds its dataclasses.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is out of range.
    """
    top = checked(TopLevel, OmegaConf.create({str(key): cfg[key] for key in cfg if key not in GROUPS}), "")
    built = {group: build(cfg, group) for group in GROUPS}
    built["pool"].check(built["prompt"].mode, built["evaluation"].dd_ranking)
    students: list[StudentConfig] = _beside(cfg, "students", "student", built.pop("student"), top.students)
    protocols: list[ProtocolConfig] = _beside(cfg, "protocols", "protocol", built.pop("protocol"), top.protocols)
    soft = all(protocol.labels == "soft" for protocol in protocols)

    def method_of(selection: SelectionConfig, settings: CompositionConfig) -> MethodConfig:
        composition = settings.resolve(top.ipc, built["dataset"].image_size, soft)
        return MethodConfig(selection.resolve(composition.factor, composition.whole, soft), composition)

    methods = [method_of(built.pop("selection"), built.pop("composition"))]
    for named in [*top.compare, *(NEEDED if built["evaluation"].dd_ranking else ())]:
        rival = _rival(cfg, named)
        method = method_of(build(rival, "selection"), build(rival, "composition"))
        if method.selection.name not in [one.selection.name for one in methods]:
            methods.append(method)
    if isinstance(teacher := built["teacher"], EnsembleConfig):
        built["teacher"] = teacher.of([_member(cfg, name) for name in teacher.members])
    named_presets = [protocol.name for protocol in protocols if protocol.name in options("protocol")]
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    return Experiment(
        ipc=top.ipc,
        seeds=top.seeds,
        store=Path(top.store),
        stages=top.stages,
        dry_run=top.dry_run,
        methods=methods,
        students=students,
        protocols=protocols,
        presets={name: build(_with_option(cfg, "protocols", "protocol", name), "protocol") for name in named_presets},
        config=config,
        source=OmegaConf.to_yaml(cfg),
        **built,
    )


def _rival(cfg: DictConfig, named: Any) -> DictConfig:
    """A config with another selection, which an item of ``compare`` names; its settings belong to its name."""
    if isinstance(named, str):
        return _with_option(cfg, "compare", "selection", named)
    if not (isinstance(named, dict) and len(named) == 1 and all(isinstance(own, dict) for own in named.values())):
        raise UserError(f"compare: {named} is neither a selection nor one with settings, {{rded: {{whole: 0.5}}}}")
    [(option, settings)] = named.items()
    rival = _with_option(cfg, "compare", "selection", str(option))
    unknown = [str(key) for key in settings if key not in rival["selection"] or key == "_target_"]
    if unknown:
        known = ", ".join(key for key in map(str, rival["selection"]) if key != "_target_")
        raise UserError(f"compare: {option} has no '{unknown[0]}'; choose from {known}")
    name = " ".join([str(option), *(f"{key}={value}" for key, value in settings.items())])
    rival["selection"] = OmegaConf.merge(rival["selection"], {"name": name, **settings})
    return rival


def _beside(cfg: DictConfig, key: str, group: str, chosen: Any, names: Sequence[str]) -> list[Any]:
    """The chosen option of a group and others, each once."""
    others = [build(_with_option(cfg, key, group, name), group) for name in names]
    return [chosen, *{option.name: option for option in others if option.name != chosen.name}.values()]


def _member(cfg: DictConfig, name: str) -> TeacherConfig:
    """A member of an ensemble: an option of the group, or a folder."""
    if name not in options("teacher") and (stored := stored_member(name)):
        return stored
    return cast(TeacherConfig, build(_with_option(cfg, "teacher.members", "teacher", name), "teacher"))


def _with_option(cfg: DictConfig, key: str, group: str, name: str) -> DictConfig:
    """A config with another option of a group, which a list under ``key`` names."""
    if name not in options(group):
        raise UserError(f"{key}={name}: no such {group}; {choose(name, options(group))}")
    other = cfg.copy()
    OmegaConf.set_struct(other, False)
    other[group] = read_option(group, name)
    return other
