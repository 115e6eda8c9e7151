"""Trainings that an interruption costs little: Lightning's, going on from checkpoints that are whole or absent."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ddselect.runtime.files import write_bytes
from ddselect.runtime.integrity import is_sealed, sealed
from ddselect.runtime.parallel import working_together
from ddselect.runtime.progress import counting, remark

LAST = "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; Lightning moves it in from another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with sealed(Path(path)) as place:
            write_bytes(place, buffer.getvalue())


@contextmanager
def fitting(
    module: pl.LightningModule,
    name: str,
    steps: int,
    make_trainer: Callable[..., pl.Trainer],
    prepare: Callable[[pl.Trainer], None],
    folder: Path,
    **options: Any,
) -> Iterator[None]:
    """Trains a module for so many steps; inside, all ranks of the trainer are still there, and wait for each other.

    The training goes on from ``<folder>/last.ckpt`` if there is one, and writes that at the end of each Lightning
    epoch. ``prepare`` sees the trainer before it starts, ``options`` are those of ``pl.Trainer``.
    """
    last = folder / LAST
    is_whole = is_sealed(last)
    if last.exists() and not is_whole:
        remark(f"{last} is not what was written; the training begins anew")
    checkpoint = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    with counting(name, steps, "steps") as counter:
        count = LambdaCallback(
            on_train_start=lambda trainer, _: counter.resume(trainer.global_step),
            on_train_batch_end=lambda *_: counter.advance(),
        )
        trainer = make_trainer(
            callbacks=[count, checkpoint],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=True,
            reload_dataloaders_every_n_epochs=1,
            **options,
        )
        prepare(trainer)
        with working_together(trainer):
            trainer.fit(module, ckpt_path=last if is_whole else None, weights_only=True)
            if trainer.interrupted:
                raise KeyboardInterrupt
            yield
