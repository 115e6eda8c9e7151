"""Children end when they are told to or their parent is gone, and are killed when they do not listen."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddselect.runtime import processes

CHILD = "import time; from ddselect.runtime.processes import end_with_parent; end_with_parent(); "
CHILD += "print(1, flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
# A parent that forks one that outlives it and holds the child's life line.
PARENT = """
import os, subprocess, time
from ddselect.runtime import processes
child = processes.start(["-c", {child!r}], stdout=subprocess.PIPE)
assert child.stdout.readline() == "1\\n"
keeper = os.fork()
if not keeper:
    time.sleep(30)
    os._exit(0)
print(child.pid, keeper, flush=True)
time.sleep(60)
"""


def test_a_child_is_told_and_the_deaf_one_is_killed() -> None:
    deaf = processes.start(["-c", DEAF], stdout=subprocess.PIPE)
    hearing = processes.start(["-c", "import time; time.sleep(60)"])
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == "1\n"
    assert not processes.wait([deaf, hearing], 0)
    processes.end([deaf, hearing], grace=0.5)
    assert (deaf.returncode, hearing.returncode) == (-signal.SIGKILL, -signal.SIGTERM)
    assert processes.killed(deaf.returncode) == "killed by SIGKILL (most often for want of memory)"
    assert processes.killed(hearing.returncode) == "killed by SIGTERM"


def test_one_that_ends_unasked_is_not_told() -> None:
    child = processes.start(["-c", "import time; time.sleep(0.2)"])
    processes.end([child], unasked=30)
    assert child.returncode == 0


def test_a_cut_life_line_ends_a_child_in_the_middle_of_its_work() -> None:
    child = processes.start(["-c", CHILD], stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    child.stdin.close()
    assert child.wait(30) == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_child_ends_with_its_parent_whoever_else_holds_the_life_line() -> None:
    program = PARENT.format(child=CHILD)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, keeper = map(int, parent.stdout.readline().split())
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(child)
    assert is_running(keeper)
    os.kill(keeper, signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
