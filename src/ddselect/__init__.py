"""Dataset distillation by diffusion-driven selection."""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddselect.api import Run as Run
    from ddselect.api import Scores as Scores
    from ddselect.api import run as run
    from ddselect.api import score as score
    from ddselect.api import select as select
    from ddselect.runtime.errors import UserError as UserError

__version__ = "0.2.0"
_API = ("Run", "Scores", "UserError", "run", "score", "select")  # imported when they are asked for, which takes seconds

# OpenMP threads that spin for long while they wait make two of them on a busy machine many times slower than one; those
# that never spin are a fifth slower on an idle one. The runtime reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> object:
    if name not in _API:
        raise AttributeError(f"module 'ddselect' has no attribute '{name}'")
    return getattr(import_module("ddselect.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
