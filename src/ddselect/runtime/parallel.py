"""Work over all devices: the first rank of a machine starts the others, and all of them end together."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.callbacks import Callback, LambdaCallback
from pytorch_lightning.strategies import ParallelStrategy

from ddselect.runtime import interruption, processes
from ddselect.runtime.errors import UserError, is_interruption
from ddselect.runtime.overrides import setting
from ddselect.runtime.ranks import STARTED, rank
from ddselect.runtime.waiting import Wait

_others: list[processes.Child] = []  # what this rank started
_leaving = threading.Event()  # this rank is on its way out and says why


@contextmanager
def working_together(trainer: pl.Trainer) -> Iterator[None]:
    """Around the work of a trainer: its ranks are started if need be, and end together if one fails.

    A rank that fails has said why: the others end quietly.
    """
    _start_others(trainer)
    if trainer.world_size > 1 and STARTED not in os.environ:  # the one that started them says it
        processes.watch(partial(_have_met, Wait(_all_of(trainer), says_after=15.0)))
    try:
        yield
        try:
            trainer.strategy.barrier("done")
        except RuntimeError:
            sys.exit(1)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # nothing later may wait for the other ranks
    except BaseException as error:
        unclear = not (isinstance(error, UserError) or is_interruption(error))
        if trainer.world_size > 1 and rank() == 0 and unclear:
            time.sleep(processes.GRACE + 2 * processes.EVERY)  # it may be but another's end, of which the watch tells
        _leaving.set()
        for other in _others:
            other.kill()  # it would wait for this one in vain
        raise


def _start_others(trainer: pl.Trainer) -> None:
    """Starts the other ranks of this machine, unless somebody has: torchrun, SLURM, a user, or this for earlier work.

    They get the variables that Lightning's own launcher would set; where it finds these, it starts none. Its watch ends
    a job without a word, and it has no public place for another.
    """
    if STARTED in os.environ:
        processes.end_with_parent()
    strategy = trainer.strategy
    environment = strategy.cluster_environment if isinstance(strategy, ParallelStrategy) else None
    if environment is None or environment.creates_processes_externally:
        _leave_the_agents_store()
        return
    os.environ |= {"MASTER_PORT": str(environment.main_port), "LOCAL_RANK": "0"}
    command, folder = sys.orig_argv[1:], None
    if HydraConfig.initialized():  # the same run folder, in which only the first rank writes down the settings
        runtime = HydraConfig.get().runtime
        same = [setting("hydra.run.dir", runtime.output_dir), "hydra.output_subdir=null"]
        command, folder = [*command, *same], runtime.cwd
    for number in range(1, trainer.num_devices):
        variables = {"LOCAL_RANK": str(number), STARTED: "1"}
        _others.append(processes.start(command, cwd=folder, env={**os.environ, **variables}))
    processes.watch(_others_are_done)


def _all_of(trainer: pl.Trainer) -> str:
    """Whom a rank waits for before work that all do together."""
    place = f"{os.environ.get('MASTER_ADDR', '127.0.0.1')}:{os.environ.get('MASTER_PORT', '')}"
    return f"all {trainer.world_size} ranks to meet at {place}, of which this is number {rank()}"


def _have_met(wait: Wait) -> bool:
    """Whether the ranks have met or end; libraries wait for that outside Python. Ends the process if it is given up."""
    if torch.distributed.is_initialized() or _leaving.is_set():
        return True
    if wait.given_up():
        for other in _others:
            other.kill()
        os.write(2, f"ddselect: {wait.message()}\n".encode())
        os._exit(2)
    return False


def _leave_the_agents_store() -> None:
    """Has ranks that torchrun started meet at the next port: its own store keeps where they met for earlier work."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        port = str(int(os.environ["MASTER_PORT"]) + 1)
        os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": port}


def keep_listening() -> Callback:
    """Keeps this program's answer to a scheduler's stop: Lightning's waits for ranks that may not have got it."""
    handler = signal.getsignal(signal.SIGTERM)

    def again(*_: object) -> None:
        signal.signal(signal.SIGTERM, handler)

    return LambdaCallback(on_train_start=again, on_predict_start=again)


def _others_are_done() -> bool:
    """Whether the ranks that this one started are done. If one failed, all end, with one line for them."""
    codes = [other.poll() for other in _others]
    failed = [(number, code) for number, code in enumerate(codes, 1) if code]
    if not failed:
        return all(code == 0 for code in codes)
    number, code = failed[0]
    if _leaving.wait(processes.GRACE if code > 0 else 0):  # Ctrl-C reaches all of them, and each ends by itself
        return True
    for other in _others:
        other.kill()
    if code < 0 or code == interruption.CODE:  # otherwise it has said why
        how = "interrupted" if code > 0 else processes.killed(code)
        message = f"rank {number} was {how}; what was finished is kept, the same command goes on from it"
        os.write(2, f"ddselect: {message}\n".encode())
    os._exit(code if code > 0 else 1)
