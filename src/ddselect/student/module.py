"""Student training as a LightningModule: fixed steps, keyed randomness, tests at fixed steps."""

from collections.abc import Callable
from itertools import pairwise
from math import isfinite
from typing import Any, cast

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ddselect.protocol.recipe import TEACHER, ProtocolConfig
from ddselect.runtime.errors import NumericalError
from ddselect.student.losses import class_label_loss, soft_label_loss
from ddselect.student.models import Classifier
from ddselect.student.ranks import halves, part_of
from ddselect.student.validation import TestSet, Validated
from ddselect.student.views import Batch, Views

BETAS = (0.9, 0.999)  # of every published protocol
Labeller = Callable[[Tensor, int, slice], Tensor]
_CHECKPOINTS = 100  # about so many in a training, beside those at its tests
_APART = 100  # steps between them at least: fewer are soon done again


def checkpoint_steps(tests: list[int]) -> list[int]:
    """Numbers of finished steps after which a training is kept: at each test, and between tests that are far apart."""
    every, found = max(_APART, -(-tests[-1] // _CHECKPOINTS)), []
    for start, end in pairwise([0, *tests]):
        parts = -(-(end - start) // every)
        found += [start + (end - start) * part // parts for part in range(1, parts + 1)]
    return found


class StudentModule(Validated):
    """Trains a classifier by a resolved protocol.

    A Lightning epoch is the stretch between two checkpoints, so that one is all that an interrupted training needs to
    go on exactly. Several ranks make the same whole batch, and each computes its part.
    """

    def __init__(self, model: Classifier, views: Views, labeller: Labeller | None, tests: TestSet) -> None:
        """A training.

        The labeller gives logits (N, K) for the mixed images (N, 3, S, S) of a step's rows; None for class labels.
        Without test images the training is not tested.
        """
        super().__init__(model, tests)
        self.views, self.protocol, self.labeller = views, views.protocol, labeller
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.momentum is not None:
                layer.momentum = 1 - (1 - layer.momentum) ** self.protocol.batch_norm_updates
        self.average: AveragedModel | None = None
        if decay := self.protocol.ema:
            moving = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(model, multi_avg_fn=moving).requires_grad_(False)
            self.average.update_parameters(model)  # the weights before the first step count too
        self.tests = self.protocol.evaluation_steps(views.total)
        self.history: list[dict[str, float]] = []
        self.confusion = torch.zeros(0, 3, dtype=torch.int64)  # of the last test
        self._rank, self._ranks = 0, 1
        self._losses: list[Tensor] = []  # since the last checkpoint, in this rank
        self._since_test = torch.empty(0)  # those before, of the whole batches

    @property
    def tested(self) -> Classifier:
        """What is tested and kept: the classifier, or the moving average of it (with its batch-norm statistics)."""
        return cast(Classifier, self.average.module) if self.average else self.model

    def ends_after(self, step: int) -> list[int]:
        """Numbers of finished steps at which the epochs after a step end."""
        return [end for end in checkpoint_steps(self.tests) if end > step]

    def train_dataloader(self) -> DataLoader[Batch]:
        first = min(self.global_step, self.views.total - 1)  # Lightning asks even if nothing is left
        return DataLoader(self.views, batch_size=None, sampler=range(first, self.ends_after(first)[0]))

    def on_fit_start(self) -> None:
        self._rank, self._ranks = self.global_rank, self.trainer.world_size

    def on_train_epoch_start(self) -> None:
        is_tested = self.ends_after(self.global_step)[0] in self.tests and len(self.test_set) > 0
        self.trainer.limit_val_batches = float(is_tested)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels, stitched, step = batch
        mix = self.views.mixed(images, stitched, step)
        rows, factor = part_of(len(images), self._rank, 1 if self.protocol.halves else self._ranks)
        mixed = mix.images[rows]
        parts = halves(mixed) if self.protocol.halves else [mixed]
        logits = torch.cat([self.model(part) for part in parts]).float()
        if self.labeller is not None:
            target = self.labeller(mixed, step, rows)
            loss = soft_label_loss(logits, target, self.protocol.loss, self.protocol.temperature)
            if share := self.protocol.class_share:
                loss = loss + share * class_label_loss(logits, labels[rows])
        else:
            own, other = (class_label_loss(logits, which[rows]) for which in (labels, labels[mix.partner]))
            loss = mix.share * own + (1 - mix.share) * other
        loss = factor * loss
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        if self.average:
            self.average.update_parameters(self.model)

    def on_train_epoch_end(self) -> None:
        losses = self.trainer.strategy.reduce(torch.stack(self._losses), reduce_op="mean").cpu()
        self._losses, self._since_test = [], torch.cat([self._since_test, losses])
        loss = float(self._since_test.mean())
        if not isfinite(loss):
            name, is_bf16 = self.protocol.name, str(self.trainer.precision).startswith("bf16")
            recipe, student = ("teacher.recipe", "teacher.student") if name == TEACHER else ("protocol", "student")
            raise NumericalError(
                f"student: the loss is not finite before step {self.global_step} (protocol {name}); "
                f"lower {recipe}.learning_rate{f' or set {student}.precision=fp32' * is_bf16}"
            )
        if self.global_step in self.tests:
            self._write_down(loss)

    def _write_down(self, loss: float) -> None:
        row = {"step": float(self.global_step), "loss": loss}
        if len(self.test_set):
            found = self.accuracy
            row |= {name: getattr(found, name) for name in ("top1", "top5", "calibration_error")}
            row["images"], self.confusion = float(found.images), found.confusion
        self._since_test = torch.empty(0)
        self.history.append(row)
        self.log_dict({name: value for name, value in row.items() if name not in ("step", "images")}, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["since_test"] = self.history, self._since_test
        checkpoint["confusion"] = self.confusion

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])
        self._since_test = checkpoint.get("since_test", self._since_test)  # earlier versions kept tests only
        self.confusion = checkpoint["confusion"]
        # the epochs behind it may have been of another length
        self.trainer.fit_loop.max_epochs = checkpoint["epoch"] + 1 + len(self.ends_after(checkpoint["global_step"]))

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer, views = build_optimizer(self.model, self.protocol), self.views
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.protocol.rate(step, views.total, views.per_pass)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(model: nn.Module, protocol: ProtocolConfig) -> torch.optim.Optimizer:
    """The resolved protocol's optimiser; parameters of one dimension may be kept from decaying."""
    decay, rate = protocol.weight_decay, protocol.learning_rate
    groups: Any = model.parameters() if protocol.decay_vectors else param_groups_weight_decay(model, decay)
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=protocol.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if protocol.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, betas=BETAS, weight_decay=decay, fused=True)
