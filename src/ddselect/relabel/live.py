"""Live relabelling: the teacher labels every augmented batch that the student sees."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddselect.student.models import Classifier
from ddselect.student.ranks import halves


class LiveTeacher(nn.Module):
    """Soft labels from a frozen teacher; never part of a student's checkpoint."""

    def __init__(self, teacher: Classifier, in_halves: bool = False) -> None:
        """Labels of a teacher, in evaluation mode or as :func:`by_halves` has them."""
        super().__init__()
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list, so that it is no submodule
        self._in_halves = in_halves

    @torch.no_grad()
    def forward(self, images: Tensor, step: int = 0, rows: slice = slice(None)) -> Tensor:
        """Augmented and mixed images (N, 3, S, S) float in [0, 1] of a step's rows to logits (N, K) float32."""
        teacher = self._teacher[0]
        if next(teacher.parameters()).device != images.device:
            teacher.to(images.device)
        logits = by_halves(teacher, teacher, images) if self._in_halves else teacher(images)
        return logits.float()


def by_halves(teacher: Classifier, outputs: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Outputs (N, ...) of a teacher whose batch norm takes the statistics of each half of a batch, and learns nothing.

    FADRM's code has its teachers in training mode; other layers are in evaluation mode here, whose draws in training
    would come from global state.
    """
    for layer in teacher.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train().momentum = 0.0
    return torch.cat([outputs(half) for half in halves(images)])
