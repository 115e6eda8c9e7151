"""Dataset distillation by diffusion-driven selection."""

import os

__version__ = "0.1.0"

# OpenMP threads that wait by spinning make two of them on a busy machine many times slower than one. The runtime reads
# this when torch is first imported, so it has to be set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
