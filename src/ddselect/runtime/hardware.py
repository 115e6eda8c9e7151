"""What the machine can do."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import nn

from ddselect.runtime.ranks import whole_number

JOBS_AT_ONCE = "DDSELECT_JOBS_AT_ONCE"  # in the environment of a sweep's job: how many of them share the machine


def processors() -> int:
    """Processors that this process may use: its share, where jobs of a sweep run at the same time."""
    return max(1, available_processors() // (whole_number(JOBS_AT_ONCE, 1) or 1))


def available_processors() -> int:
    """Processors that this process and what runs beside it may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Threads that this process should keep busy: ``OMP_NUM_THREADS`` where that is set, else all processors.

    OpenMP has a list there, a number for each level of nesting; the first counts.

    Raises:
        UserError: It is no whole number.
    """
    return whole_number("OMP_NUM_THREADS", 1, listed=True) or processors()


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool of :func:`threads` workers in which numerical libraries do not start threads of their own."""
    from threadpoolctl import threadpool_limits  # takes a while to find the libraries

    def alone() -> None:
        threadpool_limits(1, user_api="openmp")  # counts for the thread that calls it

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads(), initializer=alone) as pool:
        yield pool


def computes_in_bf16() -> bool:
    """Whether bf16 is faster than fp32 here: a GPU with bf16 units, or a processor with AVX-512 BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def convolution_layout(network: nn.Module) -> torch.memory_format:
    """The memory format in which a network of 2-d convolutions is fastest here.

    Channels last: tensor cores want it, and a processor is up to twice as fast in it. Only group norms in bf16 are up
    to three times slower in it on a processor.
    """
    is_slower = computes_in_bf16() and not torch.cuda.is_available()
    if is_slower and any(isinstance(layer, nn.GroupNorm) for layer in network.modules()):
        return torch.contiguous_format
    return torch.channels_last
