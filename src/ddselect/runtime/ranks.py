"""Which of several processes this one is."""

import hashlib
import os
from pathlib import Path

STARTED = "DDSELECT_STARTED"  # in the environment of ranks that the first one of their machine started
_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # torchrun, SLURM, Lightning's own launcher


def rank() -> int:
    """Global rank of this process; 0 where there is one process only."""
    for name in _VARIABLES:
        if name in os.environ:
            return int(os.environ[name])
    return 0


def run_name(folder: Path) -> str:
    """What the processes of a run have in common, and no others: the run folder, or what started its ranks.

    A scheduler starts all ranks at once, and each would choose a folder by its own clock.
    """
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return f"SLURM {os.environ.get('SLURM_JOB_ID')}.{os.environ.get('SLURM_STEP_ID')}"
    if "TORCHELASTIC_RUN_ID" in os.environ:
        parts = (os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"))
        return f"torchrun {' '.join(parts)}"
    return hashlib.blake2b(str(folder.absolute()).encode(), digest_size=8).hexdigest()  # no place stands in the store
