"""Classes by the names that a config gives them: only those that some packages define themselves."""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ddselect.runtime.errors import UserError, one_line

# ddselect.__main__ would start a run when it is imported
_DOTTED = re.compile(r"(?!__)[A-Za-z_]\w*(\.(?!__)[A-Za-z_]\w*)+", re.ASCII)
_LOGGING = ("logging", "colorlog")
# Of Hydra's own settings, by the keys whose values it calls: who may be called.
_CALLED_BY_HYDRA: dict[str, Sequence[str]] = {
    "_target_": (
        *("hydra._internal.core_plugins", "hydra.experimental.callbacks", "hydra_plugins"),
        *("optuna.samplers", "ddselect.sweep.callback"),
    ),
    "custom_search_space": (),  # of Optuna's sweeper
    "class": _LOGGING,
    "()": _LOGGING,
}


def own_class(key: str, target: str, packages: Sequence[str]) -> type:
    """The class that the value of a key names; nothing else is imported than a module of the packages.

    Args:
        key: The key, for messages.
        target: ``package.module.Class``.
        packages: Names of packages and modules, one of which must define it.

    Raises:
        UserError: It is no such class.
    """
    module, _, name = target.rpartition(".")
    if not (_DOTTED.fullmatch(target) and _lies_in(module, packages)):
        raise UserError(
            f"{key}={one_line(target)}: only classes of {', '.join(packages) or 'nothing'} are built; "
            "plugins=[...] adds packages"
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        if not (error.name and f"{module}.".startswith(f"{error.name}.")):
            raise UserError(f"{key}={target}: {module} cannot be imported: {one_line(error)}") from None
        found = None
    if not (isinstance(found, type) and _lies_in(found.__module__, packages)):
        raise UserError(f"{key}={target}: {module} has no class {name}")
    return found


def _lies_in(module: str, packages: Sequence[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def check_hydra(settings: Mapping[str, Any]) -> None:
    """Holds what Hydra calls itself to its own classes, its plugins' and this package's.

    Args:
        settings: Its node ``hydra``, as plain values.

    Raises:
        UserError: A target is another.
    """
    for key, where, value in _calls("hydra", settings):
        if value is not None:
            own_class(where, str(value), _CALLED_BY_HYDRA[key])


def _calls(place: str, value: Any) -> list[tuple[str, str, Any]]:
    """Key, full key and value of everything below a value that Hydra or ``logging`` would call."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[str, str, Any]] = []
    for key, below in items:
        where = f"{place}.{key}"
        found += [(key, where, below)] if key in _CALLED_BY_HYDRA else _calls(where, below)
    return found


@contextmanager
def own_targets_alone() -> Iterator[None]:
    """Checks what Hydra is to call by its own settings: it calls some of it before the run begins."""
    from hydra._internal.hydra import Hydra
    from omegaconf import OmegaConf

    compose = Hydra.compose_config

    def compose_and_check(*args: Any, **options: Any) -> Any:
        cfg = compose(*args, **options)
        check_hydra(cast(dict[str, Any], OmegaConf.to_container(cfg.hydra)))
        return cfg

    Hydra.compose_config = compose_and_check  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.compose_config = compose  # type: ignore[method-assign]
