"""What a student learns from: class labels, or the teacher's logits."""

import torch
import torch.nn.functional as F
from torch import Tensor


def class_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, K) with classes (N,), or (N, P) of P parts of equal area of each image."""
    parts = labels.reshape(len(labels), -1).T
    return torch.stack([F.cross_entropy(logits, part) for part in parts]).mean()


def soft_label_loss(student: Tensor, teacher: Tensor, kind: str, temperature: float) -> Tensor:
    """Distance of a student's logits (N, K) to a teacher's (N, K).

    ``kl`` is the KL divergence of the softmax at the temperature, batch mean, without T^2 (RDED, SRe2L), ``kl_t2`` that
    with T^2 (Hinton et al. 2015). ``mse`` is the mean squared error to the teacher's logits, centred over the classes
    and divided by the temperature, ``mse_logits`` that to the logits as they are. Logits are float32.
    """
    if kind in ("kl", "kl_t2"):
        distance = F.kl_div(
            F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1), reduction="batchmean"
        )
        return distance * temperature**2 if kind == "kl_t2" else distance
    centred = (teacher - teacher.mean(1, keepdim=True)) / temperature
    return F.mse_loss(student, teacher if kind == "mse_logits" else centred)
