"""Live relabelling: the teacher labels every augmented batch that the student sees."""

import torch
from torch import Tensor, nn

from ddselect.student.models import Classifier


class LiveTeacher(nn.Module):
    """Soft labels from a frozen teacher in evaluation mode; never part of a student's checkpoint."""

    def __init__(self, teacher: Classifier) -> None:
        super().__init__()
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list, so that it is no submodule

    @torch.no_grad()
    def forward(self, images: Tensor, step: int = 0, rows: slice = slice(None)) -> Tensor:
        """Augmented and mixed images (N, 3, S, S) float in [0, 1] of a step's rows to logits (N, K) float32."""
        teacher = self._teacher[0]
        if next(teacher.parameters()).device != images.device:
            teacher.to(images.device)
        logits: Tensor = teacher(images)
        return logits.float()
