"""From a composed config to a checked experiment: an unknown key or a bad value is one line."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ddselect.composing import Options
from ddselect.evaluation.dd_ranking import NEEDED
from ddselect.experiment import Experiment, MethodConfig, TopLevel
from ddselect.options import searching
from ddselect.plugins import folders
from ddselect.runtime.errors import UserError
from ddselect.schema import GROUPS, build, checked
from ddselect.teacher.ensemble import EnsembleConfig, member


def build_experiment(cfg: DictConfig) -> Experiment:
    """Checks a composed config and builds its dataclasses.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is out of range.
    """
    top = checked(TopLevel, OmegaConf.create({str(key): cfg[key] for key in cfg if key not in GROUPS}), "")
    with searching(folders(top.plugins)):
        return _build(cfg, top)


def _build(cfg: DictConfig, top: TopLevel) -> Experiment:
    built = {group: build(cfg, group) for group in GROUPS}
    built["pool"].check(built["prompt"].mode, built["evaluation"].dd_ranking)
    teacher, student, protocol = built["teacher"], built.pop("student"), built.pop("protocol")
    rivals = [*top.rivals(), *((name, {}) for name in NEEDED if built["evaluation"].dd_ranking)]
    members = teacher.members if isinstance(teacher, EnsembleConfig) else []
    beside = {"selection": [name for name, _ in rivals], "student": top.students}
    beside["teacher"] = [name.partition(":")[0] for name in members]
    options = Options(cfg, {**beside, "protocol": [protocol.name, *top.protocols]})

    def option(key: str, group: str, name: str) -> Any:
        return build(options.config(key, group, name), group)

    def each_once(chosen: Any, others: Iterable[Any]) -> list[Any]:
        return [chosen, *{one.name: one for one in others if one.name != chosen.name}.values()]

    students = each_once(student, (option("students", "student", name) for name in top.students))
    protocols = each_once(protocol, (option("protocols", "protocol", name) for name in top.protocols))
    presets = {one.name: one for one in protocols[1:]}
    if protocol.name in options.known["protocol"]:
        presets[protocol.name] = option("protocols", "protocol", protocol.name)
    if members:
        one_of = partial(option, "teacher.members", "teacher")
        built["teacher"] = teacher.of([member(name, options.known["teacher"], one_of) for name in members])
    soft, methods = all(one.labels == "soft" for one in protocols), dict[str, MethodConfig]()
    for config in [cfg, *(_rival(options, name, own) for name, own in rivals)]:
        composition = build(config, "composition").resolve(top.ipc, built["dataset"].image_size, soft)
        selection = build(config, "selection").resolve(composition.factor, composition.whole, soft)
        whole = selection.share(composition.factor, composition.whole)
        method = MethodConfig(selection, replace(composition, whole=whole))
        if methods.setdefault(selection.name, method) != method and not selection.ranks:
            raise UserError(f"compare: two given sets are called '{selection.name}'; give each a name of its own")
    return Experiment(
        **{name: getattr(top, name) for name in ("ipc", "seeds", "stages", "plugins", "dry_run")},
        **{str(group): one for group, one in built.items() if group not in ("selection", "composition")},
        store=Path(top.store),
        methods=list(methods.values()),
        students=students,
        protocols=protocols,
        presets=presets,
        config=cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)),
        source=OmegaConf.to_yaml(cfg),
    )


def _rival(options: Options, name: str, own: dict[str, Any]) -> DictConfig:
    """A config with another selection, whose own settings belong to its name."""
    rival = options.config("compare", "selection", name)
    known = [str(key) for key in rival["selection"] if key != "_target_"]
    if unknown := [str(key) for key in own if key not in known]:
        raise UserError(f"compare: {name} has no '{unknown[0]}'; choose from {', '.join(known)}")
    if own:
        told = {key: Path(str(value)).name if key == "root" else value for key, value in own.items()}
        called = " ".join([name, *(f"{key}={value}" for key, value in told.items())])
        rival["selection"] = OmegaConf.merge(rival["selection"], {"name": called} | own)
    return rival
