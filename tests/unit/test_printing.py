"""What is printed is printed as it is, whatever a path holds and whoever reads."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddselect.runtime import progress
from ddselect.runtime.progress import console_on, note

ROOT = Path(__file__).parents[2]
# A wait outside Python, of which a signal's handler would hear when it is over.
DEAF = """
import ctypes, threading, time
from ddselect.runtime import interruption
interruption._DEAF = 0.2
interruption.listen(lambda: "last words")
lock = ctypes.create_string_buffer(64)
def tell():
    while lock[0] != bytes([2]):  # held, and waited for
        time.sleep(0.01)
    print(1, flush=True)
threading.Thread(target=tell, daemon=True).start()
ctypes.CDLL(None).pthread_mutex_lock(lock)
ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


@pytest.mark.parametrize("name", ["a[old]", "x[/y]z", ":cat:", "[bold]", "été", "a" * 200])
def test_a_path_is_printed_whole(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    note(f"report: {name}", "yellow")
    assert name in capsys.readouterr().err
    console_on().print(f"place: {name}", soft_wrap=True)
    assert name in capsys.readouterr().out


def test_nothing_in_the_sources_is_written_as_if_notes_had_markup() -> None:
    for file in Path(progress.__file__).parents[1].rglob("*.py"):
        assert "[/yellow]" not in file.read_text("utf-8"), file


def run(*words: str, **options: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *words], **options)  # type: ignore[call-overload]


def test_nobody_who_reads_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    helped = run("--help", cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert helped.communicate(timeout=60)[1] == b""
    assert helped.returncode == 141


def test_an_encoding_without_a_letter_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    told = run("stages=[index]", "dataset=imagefolder", "dataset.root=été", cwd=tmp_path, env=environment,
               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    (line, *_) = told.communicate(timeout=60)[1].splitlines()
    assert told.returncode == 2
    assert b"no images found in '\\xe9t\\xe9'" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_wait_outside_python_ends_with_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler)\n{DEAF}"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert isinstance(child.stdout, io.BufferedReader)
    assert child.stdout.readline() == b"1\n"
    child.send_signal(number)
    assert child.communicate(timeout=20)[1].splitlines() == [b"ddselect: last words"]
    assert child.returncode == 130
