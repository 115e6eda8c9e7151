"""Small runs of the whole program: in this process, or in one that a test may kill."""

import io
import multiprocessing
import os
import signal
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from ddselect import cli

SMALL = (
    "dataset.sizes.train=100",
    "dataset.sizes.val=10",
    "dataset.sizes.test=50",
    "scoring.draws=2",
    "scoring.shard_size=20",
    "ipc=2",
    "compare=[]",
    "protocol.steps=8",
    "protocol.evaluations=2",
    "report.images_per_class=1",
    "report.maps_per_class=0",
)
_PATIENCE = 120.0  # seconds after which something that should have happened will not
_PRELOADED = multiprocessing.get_context("forkserver")
_PRELOADED.set_forkserver_preload(
    ["ddselect.pipeline", "ddselect.scoring.module", "ddselect.student.train", "sklearn.cluster"]
)


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """What it told the user, without progress."""
        return [line for line in self.err.splitlines() if line.startswith("ddselect: ")]

    def assert_one_line(self, code: int) -> str:
        """The only message, after which nothing follows; no traceback, no other noise than progress."""
        assert self.err.splitlines()[-1] == self.assert_first_line(code), self.err
        return self.messages[0]

    def assert_first_line(self, code: int) -> str:
        """The only message, which is complete by itself; more about it may follow, indented."""
        assert self.code == code, self.err
        assert len(self.messages) == 1, self.err
        noise = [line for line in self.err.splitlines() if not (_is_progress(line) or line == self.messages[0])]
        assert not noise, self.err
        return self.messages[0]


def _is_progress(line: str) -> bool:
    """``scoring ...``, ``index: done before (0123456789abcdef)``, ``  scoring: 5/10 images, ...``."""
    return line.endswith(" ...") or ": done before (" in line or line.startswith("  ")


def run_here(folder: Path, *arguments: str) -> Ended:
    """Runs the command line in this process, in ``folder``; a bug's exception passes through."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    hydra = arguments[:1] != ("export",)
    line = sorted(arguments, key=lambda word: hydra and not word.startswith("-"))  # Hydra wants its options together
    place = chdir(folder), mock.patch.object(sys, "argv", ["ddselect", *line]), mock.patch.dict(os.environ)
    with place[0], place[1], place[2], redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


class Started:
    """A run in a process of its own, forked from one that has the imports behind it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._log = folder, folder / f"log-{len(list(folder.glob('log-*')))}"
        self._process = _PRELOADED.Process(target=self.main, args=(folder, arguments, self._log))
        self._process.start()

    @property
    def pid(self) -> int:
        """Process id of the run."""
        assert self._process.pid is not None
        return self._process.pid

    def wait_for(self, pattern: str) -> Path:
        """The first file that matches, as soon as there is one."""
        start = time.monotonic()
        while not (found := sorted(self.folder.glob(pattern))):
            if not self._process.is_alive() or time.monotonic() - start > _PATIENCE:
                pytest.fail(f"{pattern} did not appear: {self._log.read_text()}")
            time.sleep(0.005)
        return found[0]

    def end(self, number: signal.Signals) -> Ended:
        """Sends a signal and waits for the end; the code of a killed process is negative."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> Ended:
        """Waits for the end."""
        self._process.join(_PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            pytest.fail(f"the run does not end: {self._log.read_text()}")
        return Ended(self._process.exitcode, "", self._log.read_text())

    @staticmethod
    def main(folder: Path, arguments: tuple[str, ...], log: Path) -> None:
        """What its process does."""
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # a suite in the background of a shell inherits it ignored
        os.chdir(folder)
        file = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["ddselect", *arguments]
        cli.main()


def only(folder: Path) -> Path:
    """The one folder in a folder."""
    (found,) = folder.iterdir()
    return found
