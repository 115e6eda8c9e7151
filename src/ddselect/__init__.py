"""Dataset distillation by diffusion-driven selection."""

__version__ = "0.1.0"
