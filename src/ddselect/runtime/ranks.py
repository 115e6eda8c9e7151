"""Which of several processes this one is."""

import os

_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # torchrun, SLURM, Lightning's own launcher


def rank() -> int:
    """Global rank of this process; 0 where there is one process only."""
    for name in _VARIABLES:
        if name in os.environ:
            return int(os.environ[name])
    return 0
