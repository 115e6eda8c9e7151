"""The ranks of a job on one machine end together: none works on, or waits, for one that is gone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher, subprocess_script

from ddselect.runtime.errors import UserError
from ddselect.runtime.ranks import rank

_EVERY = 0.5  # seconds between looks at the others
_GRACE = 4.0  # seconds for this rank to end by itself after another did
_INTERRUPTED = 130
_ending = threading.Event()  # this rank is on its way out and says why


class Companions(Callback):
    """In every rank but the first: watches the first one until it has ended."""

    _watched: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.local_rank > 0 and Companions._watched is None:
            first = Companions._watched = os.getppid()
            _watch(lambda: _first_left(first))


def watch_started_ranks() -> None:
    """In the first rank, from the moment that it starts others: watches them until they have ended.

    It takes the place of Lightning's own watch, which ends the job without a word.
    """
    vars(subprocess_script)["_launch_process_observer"] = lambda started: _watch(lambda: _others_left(started))


def _watch(look: Callable[[], bool]) -> None:
    """Looks now and then, in the background, until there is nothing more to see."""

    def run() -> None:
        while not look():
            time.sleep(_EVERY)

    threading.Thread(target=run, name="companions", daemon=True).start()


def _others_left(started: Sequence[subprocess.Popen[bytes]]) -> bool:
    """In the first rank: whether all others are done. If one failed, this one ends too, with one line for all."""
    codes = [process.poll() for process in started]
    failed = [(number, code) for number, code in enumerate(codes, 1) if code]
    if not failed:
        return all(code == 0 for code in codes)
    number, code = failed[0]
    if _ending.wait(_GRACE if code > 0 else 0):  # Ctrl-C reaches all of them, and each ends by itself
        return True
    for process in started:
        process.kill()
    if code < 0 or code == _INTERRUPTED:  # otherwise it has said why
        how = "interrupted" if code > 0 else f"killed by {signal.Signals(-code).name}"
        why = " (most often for want of memory)" if code == -signal.SIGKILL else ""
        message = f"rank {number} was {how}{why}; what was finished is kept, the same command goes on from it"
        os.write(2, f"ddselect: {message}\n".encode())
    os._exit(code if code > 0 else 1)


def _first_left(first: int) -> bool:
    """In another rank: ends it if the first one is gone."""
    if os.getppid() != first:
        os._exit(1)
    return False


@contextmanager
def working_together(trainer: pl.Trainer) -> Iterator[None]:
    """Around the work of a trainer over all devices: its ranks end together, whether it succeeds or fails.

    A rank that fails has said why: the others end quietly.
    """
    try:
        yield
        try:
            trainer.strategy.barrier("done")
        except RuntimeError:
            sys.exit(1)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # nothing later may wait for the other ranks
    except BaseException as error:
        unclear = isinstance(error, Exception | SystemExit) and not isinstance(error, UserError)
        if trainer.world_size > 1 and rank() == 0 and unclear:
            time.sleep(_GRACE + 2 * _EVERY)  # it may be but the end of another rank, of which the watch tells
        _ending.set()
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)  # they would wait for this one in vain
        raise
