"""Dataset distillation by diffusion-driven selection."""

import os

__version__ = "0.1.0"

# OpenMP threads that spin for long while they wait make two of them on a busy machine many times slower than one; those
# that never spin are a fifth slower on an idle one. The runtime reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
