"""From Hydra's DictConfig to checked dataclasses: an unknown key or a bad value is one line."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ddselect.backbone.choice import Backbone
from ddselect.composition.compose import Composition
from ddselect.dataset.folders import Dataset
from ddselect.evaluation.accuracy import Evaluation
from ddselect.prompt.modes import Prompt
from ddselect.protocol.recipe import Protocol
from ddselect.relabel.live import Relabel
from ddselect.report.settings import Report
from ddselect.runtime.errors import UserError, one_line
from ddselect.runtime.logger import LoggerSettings
from ddselect.runtime.trainer import TrainerSettings
from ddselect.scoring.settings import Scoring
from ddselect.selection.methods import Selection
from ddselect.student.train import Student
from ddselect.teacher.choice import Teacher

T = TypeVar("T")
GROUPS: dict[str, type] = {
    "dataset": Dataset,
    "backbone": Backbone,
    "prompt": Prompt,
    "scoring": Scoring,
    "selection": Selection,
    "composition": Composition,
    "teacher": Teacher,
    "relabel": Relabel,
    "student": Student,
    "protocol": Protocol,
    "evaluation": Evaluation,
    "report": Report,
    "trainer": TrainerSettings,
    "logger": LoggerSettings,
}


@dataclass
class TopLevel:
    """The keys of ``conf/config.yaml`` outside the groups.

    Attributes:
        ipc: Images per class.
        seeds: Each seed makes its own selection and trains its own student.
        compare: Selections that are run beside the chosen one, under the same protocol.
        store: Folder of finished stages.
    """

    ipc: int = 10
    seeds: list[int] = field(default_factory=lambda: [0])
    compare: list[str] = field(default_factory=list)
    store: str = "store"

    def __post_init__(self) -> None:
        if self.ipc < 1:
            raise UserError(f"ipc={self.ipc}: at least 1 image per class is needed")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds={self.seeds}: different numbers are needed, e.g. seeds=[0,1,2]")


@dataclass(frozen=True)
class Arm:
    """A selection with its composition: one line of the comparison."""

    selection: Selection
    composition: Composition


@dataclass(frozen=True)
class Experiment:
    """Everything a run does, checked.

    Attributes:
        arms: The chosen selection first, then those it is compared with.
        config: The resolved config, as plain values.
        source: The config before its interpolations were resolved, as YAML: from it the experiment can be built again.
    """

    ipc: int
    seeds: list[int]
    store: Path
    dataset: Dataset
    backbone: Backbone
    prompt: Prompt
    scoring: Scoring
    arms: list[Arm]
    teacher: Teacher
    relabel: Relabel
    student: Student
    protocol: Protocol
    evaluation: Evaluation
    report: Report
    trainer: TrainerSettings
    logger: LoggerSettings
    config: dict[str, Any]
    source: str


def conf_dir() -> Path:
    """The folder of the YAML files: in the package when installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def options(group: str) -> list[str]:
    """Names of a group's options."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def build_experiment(cfg: DictConfig) -> Experiment:
    """Checks a composed config and builds its dataclasses.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is out of range.
    """
    top = _checked(TopLevel, OmegaConf.create({str(key): cfg[key] for key in cfg if key not in GROUPS}), "")
    built = {group: build(cfg, group) for group in GROUPS}
    arms = [Arm(built.pop("selection"), built.pop("composition"))]
    for name in top.compare:
        if name not in options("selection"):
            raise UserError(f"compare={name}: no such selection; choose from {', '.join(options('selection'))}")
        rival = cfg.copy()
        OmegaConf.set_struct(rival, False)
        rival.selection = _option("selection", name)
        arm = Arm(build(rival, "selection"), build(rival, "composition"))
        if arm.selection.name not in [a.selection.name for a in arms]:
            arms.append(arm)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    return Experiment(
        ipc=top.ipc,
        seeds=top.seeds,
        store=Path(top.store),
        arms=arms,
        config=config,
        source=OmegaConf.to_yaml(cfg),
        **built,
    )


def _option(group: str, name: str) -> DictConfig:
    """An option as its file says it, on top of the options of the same group that it builds on."""
    node = cast(DictConfig, OmegaConf.load(conf_dir() / group / f"{name}.yaml"))
    for base in reversed([str(entry) for entry in node.pop("defaults", []) if entry != "_self_"]):
        node = cast(DictConfig, OmegaConf.merge(_option(group, base), node))
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
        raise UserError(f"{group}: {one_line(str(error).splitlines()[0])}") from None
    del node["_target_"]
    return _checked(kind, node, f"{group}.")


def unknown_key(error: OmegaConfBaseException, prefix: str = "") -> str:
    """What to say about a key that is not there: its full name, and those that are."""
    known = ", ".join(str(key) for key in error.parent_node if key != "_target_")
    return f"unknown key '{prefix}{error.full_key}'; choose from {known}"


def _checked(kind: type[T], node: DictConfig, prefix: str) -> T:
    try:
        return cast(T, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), node)))
    except ConfigKeyError as error:
        raise UserError(unknown_key(error, prefix)) from None
    except OmegaConfBaseException as error:
        key = f"{prefix}{getattr(error, 'full_key', None) or ''}".rstrip(".")
        raise UserError(f"{key}: {one_line(str(error).splitlines()[0])}") from None
