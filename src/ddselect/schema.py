"""From a node of Hydra's config to a checked dataclass: an unknown key or a bad value is one line."""

import os
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from math import isfinite
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ddselect.backbone.choice import BackboneConfig
from ddselect.boxes.settings import BoxesConfig
from ddselect.composition.settings import CompositionConfig
from ddselect.dataset.folders import DatasetConfig
from ddselect.embed.settings import EmbedConfig
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.options import options
from ddselect.pilot.settings import PilotConfig
from ddselect.plugins import packages
from ddselect.pool.settings import PoolConfig
from ddselect.prompt.modes import PromptConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.settings import RelabelConfig
from ddselect.report.settings import ReportConfig
from ddselect.runtime.errors import UserError, check_unicode, choose, one_line
from ddselect.runtime.logger import LoggerConfig
from ddselect.runtime.targets import own_class
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.settings import ScoringConfig
from ddselect.selection.base import SelectionConfig
from ddselect.student.settings import StudentConfig
from ddselect.teacher.choice import TeacherConfig

T = TypeVar("T")
_SIGNS = "_ - . , + = ' ( ) [ ]"  # in names, such as those that `compare` makes of settings
_PLAIN = re.compile(rf"\w[\w {re.escape(_SIGNS)}]{{0,99}}")
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


def check_options(settings: Iterable[str]) -> None:
    """Refuses several options for a group, which Hydra would merge into one that is none of them.

    Raises:
        UserError: A group is given a list.
    """
    for setting in settings:
        group, _, option = setting.partition("=")
        if group in GROUPS and option.startswith("["):
            raise UserError(f"{setting}: a group has one option; choose one of {', '.join(options(group))}")


def build(cfg: DictConfig, group: str) -> Any:
    """Builds what a group's ``_target_`` names: a class of this package, of a plug-in, or of one that the run names.

    Raises:
        UserError: As :func:`ddselect.config.build_experiment`; also if the target lies outside these packages.
    """
    if group not in cfg or not isinstance(cfg[group], DictConfig):
        raise UserError(f"{group}: no option chosen; choose one of {', '.join(options(group))}")
    target = str(cfg[group].get("_target_", ""))
    kind = own_class(f"{group}._target_", target, ["ddselect", *packages(cfg.get("plugins") or ())])
    if not issubclass(kind, GROUPS[group]):
        raise UserError(f"{group}._target_={target}: a {GROUPS[group].__name__} is needed")
    try:
        node = OmegaConf.create(cast(dict[str, Any], OmegaConf.to_container(cfg[group], resolve=True)))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or group}: {one_line(str(error).splitlines()[0])}") from None
    del node["_target_"]
    return checked(kind, node, f"{group}.")


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


def checked(kind: type[T], node: DictConfig, prefix: str) -> T:
    """Builds a dataclass from a node; ``prefix`` stands before its keys in messages.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is out of range.
    """
    try:
        _check_shape(kind, node, prefix.rstrip("."))
        whole = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(kind), node))
        _find_home(whole, prefix.rstrip("."))
        return cast(T, _built(whole, prefix.rstrip(".")))
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
    elif float in (hint, *get_args(hint)) and _is_endless(value):
        raise UserError(f"{key}={value}: a finite number is needed")
    elif hint is str and isinstance(value, bool | float):  # 1.10 would be called 1.1
        raise UserError(f"{key}={value}: a text is needed; one that reads as a number is written '{key}=\"...\"'")
    elif key.endswith(".name") and not _PLAIN.fullmatch(str(value)):
        raise UserError(
            f"{key}={one_line(value)}: it becomes the name of files and metrics; begin with a letter "
            f"or a digit, go on with these, spaces and {_SIGNS}, 100 characters at most"
        )


def _is_endless(value: Any) -> bool:
    """Whether a value is a number, or written as one, that is not finite."""
    try:
        return not isfinite(float(value))
    except ValueError:
        return False


def _find_home(node: DictConfig | ListConfig, place: str) -> None:
    """Puts the home folder for ``~`` at the beginning of a text, which nothing but a path begins with."""
    keys: Iterable[Any] = node if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        value, name = node[key], f"{place}.{key}".lstrip(".")
        if isinstance(value, DictConfig | ListConfig):
            _find_home(value, name)
        elif isinstance(value, str):
            check_unicode(value, name)
            if value.startswith("~"):
                node[key] = os.path.expanduser(value)  # noqa: PTH111  (pathlib's fails where there is no home)


def _built(node: DictConfig, place: str) -> Any:
    """Builds the dataclasses in a node before its own, so that a bad value is reported under the key it has here."""
    kind = cast(type, OmegaConf.get_type(node))
    for name in [f.name for f in fields(kind) if is_dataclass(OmegaConf.get_type(node, f.name))]:
        _built(node[name], f"{place}.{name}")
    with open_dict(node):
        for name in [f.name for f in fields(kind) if not f.init]:  # a class sets it itself
            del node[name]
    try:
        return instantiate(node, _target_=kind, _convert_="object")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if not isinstance(cause, UserError):
            raise cause from None
        usual = next((group for group, schema in GROUPS.items() if issubclass(kind, schema)), place)
        raise UserError(re.sub(rf"^{usual}(?=[.:])", place, str(cause))) from None
