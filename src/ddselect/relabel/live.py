"""Live relabelling: the teacher labels every augmented batch that the student sees."""

import torch
import torch.nn.functional as F
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


def soft_label_loss(student: Tensor, teacher: Tensor, kind: str, temperature: float) -> Tensor:
    """Distance of a student's logits (N, K) to a teacher's (N, K).

    Args:
        student: Float32 logits.
        teacher: Float32 logits.
        kind: ``kl``: KL divergence of the softmax at the temperature, batch mean, without T^2 (RDED, SRe2L); ``mse``:
            mean squared error to the teacher's logits, centred over the classes and divided by the temperature.
        temperature: T.
    """
    if kind == "kl":
        return F.kl_div(
            F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1), reduction="batchmean"
        )
    centred = (teacher - teacher.mean(1, keepdim=True)) / temperature
    return F.mse_loss(student, centred)
