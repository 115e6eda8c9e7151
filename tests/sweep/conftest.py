"""Sweeps whose jobs are stand-ins: each takes as long as it takes Python to start."""

import os
from pathlib import Path

import pytest

# A job that fails, is killed, or has an accuracy that rises with the share of whole images and with the IPC.
STAND_IN = """
import json, os, sys
if "ddselect.sweep.process" in sys.orig_argv:
    folder, *words = sys.orig_argv[sys.orig_argv.index("ddselect.sweep.process") + 1 :]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    ipc, whole = int(given["ipc"]), float(given.get("selection.whole", 0.5))
    if ipc == 66:
        open(os.path.join(folder, "error.txt"), "w").write("student: out of luck")
        os._exit(2)
    if ipc == 99:
        os.kill(os.getpid(), 9)
    entry = {
        "dataset": "d", "selection": given.get("selection", "diffusion"), "ipc": ipc, "protocol": "p", "student": "s",
        "top1_last": 10 * whole + ipc, "top1_best": 20, "top5_last": 90, "test_images": 50, "training_images": 10 * ipc,
        "seconds": {"student": 1}, "fingerprints": {"student": f"{ipc} {whole}"}, "seed": 0,
    }
    with open(os.path.join(folder, "results.json"), "w") as file:
        json.dump({"results": [entry], "config": {"objective": "top1_last"}, "words": words}, file)
    with open(os.environ["JOBS"], "a") as file:
        file.write(f"{os.getppid()} {os.environ.get('DDSELECT_JOBS_AT_ONCE')}\\n")
    os._exit(0)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sweep to be; ``jobs`` in it gets a line from every job that succeeds: parent and share."""
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("JOBS", str(tmp_path / "jobs"))
    return tmp_path
