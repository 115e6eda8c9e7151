"""Peak memory of a stretch of work in this process: resident on the host, allocated on its GPUs."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """The highest memory since it was made; one at a time, as each sets the marks of the process back.

    Libraries and whatever the process holds already count, work in other processes does not. Where the system cannot
    set its mark back (outside Linux), the host's is the highest since the process began.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            _RESET.write_text("5")
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            for number in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(number)

    def host(self) -> int:
        """Peak resident memory in bytes; 0 where it is not known."""
        with suppress(OSError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
        with suppress(ImportError):
            from resource import RUSAGE_SELF, getrusage  # not on every system

            return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return 0

    def gpu(self) -> int:
        """Most memory in bytes that torch had allocated on a GPU; 0 where it uses none."""
        if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return 0
        return max(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
