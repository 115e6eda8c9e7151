"""A table of logits, validated on numbered images by this program's ranks, which write down what each found."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from ddselect.runtime.files import write_json
from ddselect.runtime.parallel import working_together
from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.validation import TestSet, Validated

CLASSES = 7


class Lookup(nn.Module):
    """Reads the number that a one-coloured image shows and gives that row of a table of logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        return self.logits[(images[:, 0, 0, 0] * 255).round().long()]


def numbered(count: int, classes: int = CLASSES, batch_size: int = 3) -> TestSet:
    """Test image i shows the number i; classes go round."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return TestSet(images, torch.arange(count) % classes, classes, batch_size)


def logits_of(count: int, classes: int = CLASSES) -> Tensor:
    """What is said of each image: (N, K), of some images the truth."""
    logits = torch.randn(count, classes, generator=torch.Generator().manual_seed(classes))
    logits[::4] += 3 * torch.eye(classes)[torch.arange(count) % classes][::4]
    return logits


if __name__ == "__main__":
    ranks, out = int(sys.argv[1]), Path(sys.argv[2])
    settings = TrainerConfig("cpu", ranks, strategy="ddp", threads=1, student_devices=ranks)
    for count in map(int, sys.argv[3:]):
        trainer = settings.student([], logger=False)
        module = Validated(Lookup(logits_of(count)), numbered(count))  # type: ignore[arg-type]
        with working_together(trainer):
            trainer.validate(module, verbose=False)
            found = module.accuracy
            write_json(
                out / f"{count}-{trainer.global_rank}.json", {**vars(found), "confusion": found.confusion.tolist()}
            )
