"""Which of several processes this one is: what the environment says of it, read and checked before any work."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ddselect.runtime.errors import UserError, one_line

STARTED = "DDSELECT_STARTED"  # in the environment of ranks that the first one of their machine started
_LAUNCHED = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_LOCALID",
             "SLURM_NODEID", "SLURM_NTASKS", "JSM_NAMESPACE_RANK")  # fmt: skip
_MEETING = ("MASTER_ADDR", "MASTER_PORT")
_NUMBERS = (*_LAUNCHED, "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "MASTER_PORT")


@dataclass(frozen=True)
class _Place:
    """Global rank of this process, and what started the ranks of its run, if it was not the first of them."""

    rank: int = 0
    launch: str = ""


_place = _Place()


def rank() -> int:
    """Global rank of this process; 0 where there is one process only, and until :func:`find_place` has looked."""
    return _place.rank


def run_name(folder: Path) -> str:
    """What the processes of a run have in common, and no others: the run folder, or what started its ranks.

    A scheduler starts all ranks at once, and each would choose a folder by its own clock.
    """
    if _place.launch:
        return _place.launch
    return hashlib.blake2b(str(folder.absolute()).encode(), digest_size=8).hexdigest()  # no place stands in the store


def whole_number(name: str, least: int = 0, *, listed: bool = False) -> int | None:
    """A number in the environment, of a list the first; None where the variable is not set or empty.

    Raises:
        UserError: It is no whole number, or too small.
    """
    text = os.environ.get(name, "").strip()
    first = text.partition(",")[0].strip() if listed else text
    if text and not (first.isdecimal() and int(first) >= least):
        raise UserError(f"{name}={text} in the environment: a whole number from {least} is needed; mend or unset it")
    return int(first) if text else None


def find_place(devices: int, nodes: int) -> None:
    """Finds out which rank this is of ``nodes`` machines with ``devices`` processes each.

    A process that works alone does not ask: independent runs may be tasks of one job of a scheduler, and variables may
    be left over from other work. It forgets these, for its libraries would ask. Of several ranks each is what Lightning
    will take it for.

    Raises:
        UserError: The environment does not say it, or something else.
    """
    global _place
    _place = _Place()
    if devices * nodes == 1:
        for name in (*_LAUNCHED, "TORCHELASTIC_RUN_ID"):
            os.environ.pop(name, None)
        return
    for name in _NUMBERS:
        if whole_number(name) is None:
            os.environ.pop(name, None)
    wanted = f"trainer.devices={devices}, trainer.nodes={nodes}"
    try:
        number, started, launch = _launched(devices, nodes)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{wanted}: {one_line(error)}") from None
    if started != devices * nodes or number >= started:
        said = ", ".join(f"{name}={os.environ[name]}" for name in _LAUNCHED if name in os.environ)
        raise UserError(
            f"{wanted}: {devices * nodes} processes are needed, this is number {number} of {started} ({said})"
        )
    _place = _Place(number, launch)


def _launched(devices: int, nodes: int) -> tuple[int, int, str]:
    """Number of this process, how many of them are or will be started, and by whom, in Lightning's order of looking."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        _need("RANK", "LOCAL_RANK", "WORLD_SIZE")
        elastic = TorchElasticEnvironment()
        launch = " ".join(os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", *_MEETING))
        return elastic.global_rank(), elastic.world_size(), f"torchrun {launch}"
    if SLURMEnvironment.detect():
        _need("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
        slurm = SLURMEnvironment()
        slurm.validate_settings(devices, nodes)
        launch = ".".join(os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        return slurm.global_rank(), slurm.world_size(), f"SLURM {launch}"
    os.environ.pop("RANK", None)  # it is nobody's here, and libraries would ask
    if nodes > 1:
        _need(*(["NODE_RANK"] if "GROUP_RANK" not in os.environ else []), *_MEETING, nodes=nodes)
    by_hand = LightningEnvironment()
    launch = " ".join(["nodes", *(os.environ[name] for name in _MEETING)]) if nodes > 1 else ""
    return by_hand.node_rank() * devices + by_hand.local_rank(), devices * nodes, launch


def _need(*names: str, nodes: int = 0) -> None:
    missing = [name for name in names if name not in os.environ]
    if missing:
        how = (
            f"; start the same command on each machine, with NODE_RANK from 0 to {nodes - 1} and the address and a "
            "free port of the first as MASTER_ADDR and MASTER_PORT, or with torchrun or srun"
        )
        raise RuntimeError(f"{', '.join(missing)} not set in the environment{how if nodes else ''}")
