"""Which of several processes this one is."""

import os
from pathlib import Path

_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # torchrun, SLURM, Lightning's own launcher


def rank() -> int:
    """Global rank of this process; 0 where there is one process only."""
    for name in _VARIABLES:
        if name in os.environ:
            return int(os.environ[name])
    return 0


def run_name(folder: Path) -> str:
    """What the processes of a run have in common, and no others: ranks of a scheduler its numbers, else the run folder.

    A scheduler starts all ranks at once, each of which would choose a folder by its own clock.
    """
    for name in ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"):
        if name in os.environ:
            parts = (name, "SLURM_STEP_ID", "MASTER_ADDR", "MASTER_PORT")
            return " ".join(os.environ.get(part, "") for part in parts)
    return str(folder.absolute())
