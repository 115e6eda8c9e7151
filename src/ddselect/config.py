"""From Hydra's DictConfig to checked dataclasses: an unknown key or a bad value is one line."""

import importlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ddselect.backbone.choice import BackboneConfig
from ddselect.boxes.settings import BoxesConfig
from ddselect.composition.compose import Composition
from ddselect.composition.settings import CompositionConfig
from ddselect.dataset.folders import DatasetConfig
from ddselect.embed.settings import EmbedConfig
from ddselect.evaluation.accuracy import EvaluationConfig
from ddselect.evaluation.dd_ranking import NEEDED
from ddselect.options import conf_dir as conf_dir
from ddselect.options import options as options
from ddselect.pilot.settings import PilotConfig
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.modes import PromptConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.settings import RelabelConfig
from ddselect.report.settings import ReportConfig
from ddselect.runtime.errors import UserError, choose, one_line
from ddselect.runtime.logger import LoggerConfig
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.settings import ScoringConfig
from ddselect.selection.base import SelectionConfig
from ddselect.student.settings import StudentConfig
from ddselect.sweep.objective import OBJECTIVES
from ddselect.teacher.choice import TeacherConfig
from ddselect.teacher.ensemble import EnsembleConfig, stored_member
from ddselect.wanted import STAGES

T = TypeVar("T")
GROUPS: dict[str, type] = {
    "dataset": DatasetConfig,
    "backbone": BackboneConfig,
    "prompt": PromptConfig,
    "pool": PoolConfig,
    "pilot": PilotConfig,
    "scoring": ScoringConfig,
    "boxes": BoxesConfig,
    "embed": EmbedConfig,
    "selection": SelectionConfig,
    "composition": CompositionConfig,
    "teacher": TeacherConfig,
    "relabel": RelabelConfig,
    "student": StudentConfig,
    "protocol": ProtocolConfig,
    "evaluation": EvaluationConfig,
    "report": ReportConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}


@dataclass
class TopLevel:
    """The keys of ``conf/config.yaml`` outside the groups.

    Attributes:
        ipc: Images per class.
        seeds: Each seed makes its own selection and trains its own student.
        compare: Selections that are run beside the chosen one, under the same protocol: names of options, or
            ``{option: {key: value}}`` for one with other settings.
        students: Students that are trained beside the chosen one, on the same distilled sets.
        protocols: Protocols under which they are trained beside the chosen one.
        objective: What a tuner is told of a run.
        store: Folder of finished stages.
        stages: Stages to make, with all that they need; ``report`` is the whole way.
        dry_run: Whether to show what would be done instead of doing it.
    """

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
        for name in self.stages:
            if name not in STAGES:
                raise UserError(f"stages=[{name}]: no such stage; {choose(name, STAGES)}")
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
        arms: The chosen selection first, then those it is compared with.
        stages: Names of the stages to make, with all that they need.
        dry_run: Whether to show what would be done instead of doing it.
        students: The chosen student first, then those that are trained on the same sets.
        protocols: The chosen protocol first, then the others under which they are trained.
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
    arms: list[MethodConfig]
    teacher: TeacherConfig
    relabel: RelabelConfig
    students: list[StudentConfig]
    protocols: list[ProtocolConfig]
    evaluation: EvaluationConfig
    report: ReportConfig
    trainer: TrainerConfig
    logger: LoggerConfig
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
    top = _checked(TopLevel, OmegaConf.create({str(key): cfg[key] for key in cfg if key not in GROUPS}), "")
    built = {group: build(cfg, group) for group in GROUPS}
    _check_pool(built["pool"], built["prompt"], built["evaluation"])

    students: list[StudentConfig] = _beside(cfg, "students", "student", built.pop("student"), top.students)
    protocols: list[ProtocolConfig] = _beside(cfg, "protocols", "protocol", built.pop("protocol"), top.protocols)
    soft = all(protocol.labels == "soft" for protocol in protocols)

    def arm_of(selection: SelectionConfig, settings: CompositionConfig) -> MethodConfig:
        composition = settings.resolve(top.ipc, built["dataset"].image_size, soft)
        return MethodConfig(selection.resolve(composition.whole, soft), composition)

    arms = [arm_of(built.pop("selection"), built.pop("composition"))]
    for named in [*top.compare, *(NEEDED if built["evaluation"].dd_ranking else ())]:
        rival = _rival(cfg, named)
        arm = arm_of(build(rival, "selection"), build(rival, "composition"))
        if arm.selection.name not in [a.selection.name for a in arms]:
            arms.append(arm)
    if isinstance(teacher := built["teacher"], EnsembleConfig):
        built["teacher"] = teacher.of([_member(cfg, name) for name in teacher.members])
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    return Experiment(
        ipc=top.ipc,
        seeds=top.seeds,
        store=Path(top.store),
        stages=top.stages,
        dry_run=top.dry_run,
        arms=arms,
        students=students,
        protocols=protocols,
        config=config,
        source=OmegaConf.to_yaml(cfg),
        **built,
    )


def _check_pool(pool: PoolConfig, prompt: PromptConfig, evaluation: EvaluationConfig) -> None:
    """Refuses generated images where they cannot be made, or would stand for real ones."""
    if pool.generates and prompt.mode == "none":
        raise UserError(f"pool={pool.name}: prompt=none does not say which class to make; use prompt=label or text")
    if pool.generates and evaluation.dd_ranking:
        raise UserError(f"evaluation.dd_ranking=true compares with random real images, which pool={pool.name} has not")


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


def check_options(settings: Iterable[str]) -> None:
    """Refuses several options for a group, which Hydra would merge into one that is none of them.

    Raises:
        UserError: A group is given a list.
    """
    for setting in settings:
        group, _, option = setting.partition("=")
        if group in GROUPS and option.startswith("["):
            raise UserError(f"{setting}: a group has one option; choose one of {', '.join(options(group))}")


def read_option(group: str, name: str) -> DictConfig:
    """An option as its file says it, on top of the options of the same group that it builds on."""
    node = cast(DictConfig, OmegaConf.load(conf_dir() / group / f"{name}.yaml"))
    for base in reversed([str(entry) for entry in node.pop("defaults", []) if entry != "_self_"]):
        node = cast(DictConfig, OmegaConf.merge(read_option(group, base), node))
    return node


def build(cfg: DictConfig, group: str) -> Any:
    """Builds the dataclass that a group's ``_target_`` names.

    Raises:
        UserError: As :func:`build_experiment`; also if the target lies outside this package.
    """
    if group not in cfg or not isinstance(cfg[group], DictConfig):
        raise UserError(f"{group}: no option chosen; choose one of {', '.join(options(group))}")
    target = str(cfg[group].get("_target_", ""))
    module, _, name = target.rpartition(".")
    if not module.startswith("ddselect."):
        raise UserError(f"{group}._target_={target}: only classes of ddselect are built")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        kind = None
    if not (isinstance(kind, type) and issubclass(kind, GROUPS[group])):
        raise UserError(f"{group}._target_={target}: a {GROUPS[group].__name__} is needed")
    try:
        node = OmegaConf.create(cast(dict[str, Any], OmegaConf.to_container(cfg[group], resolve=True)))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or group}: {one_line(str(error).splitlines()[0])}") from None
    del node["_target_"]
    return _checked(kind, node, f"{group}.")


def below_a_list(above: str, name: str) -> str:
    """What to say about a key below a list that is no number, or the number of no item."""
    return f"{above}.{name}: {above} is a list; write all of it, {above}=[...], or one of its items, {above}.0=..."


def unknown_key(error: OmegaConfBaseException, prefix: str = "") -> str:
    """What to say about a key that is not there: its full name, and those that are."""
    key, parent = f"{prefix}{error.full_key}", error.parent_node
    if isinstance(parent, ListConfig):
        above, _, name = key.replace("[", ".").rstrip("]").rpartition(".")
        return below_a_list(above, name)
    known = [str(name) for name in parent if name not in ("_target_", "hydra")]
    if "." not in key:
        known.append("experiment")  # a group that leaves no key of its own
    if not known:  # OmegaConf makes room below a single value before it finds that it may not
        above = key.rpartition(".")[0]
        return f"unknown key '{key}'; there is nothing below {above}, write {above}=..."
    return f"unknown key '{key}'; {choose(key.rpartition('.')[2], known)}"


def _checked(kind: type[T], node: DictConfig, prefix: str) -> T:
    try:
        _check_shape(kind, node, prefix.rstrip("."))
        return cast(T, _built(cast(DictConfig, OmegaConf.merge(OmegaConf.structured(kind), node)), prefix.rstrip(".")))
    except ConfigKeyError as error:
        raise UserError(unknown_key(error, prefix)) from None
    except OmegaConfBaseException as error:
        key = f"{prefix}{getattr(error, 'full_key', None) or ''}".rstrip(".")
        raise UserError(f"{key}: {one_line(str(error).splitlines()[0])}") from None


def _check_shape(hint: Any, value: Any, key: str) -> None:
    """Refuses a value, a list or keys where another of these is needed; OmegaConf says it in terms of its own nodes."""
    if hint is Any or (value is None and NoneType in get_args(hint)):
        return
    if value is None:
        raise UserError(f"{key}=null: a value is needed")
    if get_origin(hint) is list:
        if not isinstance(value, ListConfig):
            items = "..." if isinstance(value, DictConfig) else value
            raise UserError(f"{key}={value}: a list is needed, {key}=[{items}]")
        (item,) = get_args(hint)
        for number in range(len(value)):
            _check_shape(item, value[number], f"{key}[{number}]")
            if item is float and type(value[number]) is int:  # which OmegaConf refuses in a list within a list
                value[number] = float(value[number])
    elif get_origin(hint) is dict or is_dataclass(hint):
        if not isinstance(value, DictConfig):
            raise UserError(f"{key}={value}: it has keys of its own, {key}.<key>=...")
        hints = get_type_hints(hint) if is_dataclass(hint) else dict.fromkeys(value, get_args(hint)[1])
        for name in [str(key) for key in value if key in hints]:
            _check_shape(hints[name], value[name], f"{key}.{name}".lstrip("."))
    elif isinstance(value, ListConfig | DictConfig):
        raise UserError(f"{key}={value}: a single value is needed")


def _built(node: DictConfig, place: str) -> Any:
    """Builds the dataclasses in a node before its own, so that a bad value is reported under the key it has here."""
    kind = cast(type, OmegaConf.get_type(node))
    for name in [f.name for f in fields(kind) if is_dataclass(OmegaConf.get_type(node, f.name))]:
        _built(node[name], f"{place}.{name}")
    try:
        return OmegaConf.to_object(node)
    except UserError as error:
        usual = next((group for group, schema in GROUPS.items() if issubclass(kind, schema)), place)
        raise UserError(re.sub(rf"^{usual}(?=[.:])", place, str(error))) from None
