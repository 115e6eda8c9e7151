"""Two ranks label, train and test a student as one does, and end together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddselect.runtime.trainer import TrainerConfig
from ddselect.student.validation import validate
from tests.ddp.students import CASES, CLASSES, SIDE, STUDENT, some_tests, train
from tests.fault.runs import SMALL, only, run_here
from tests.helpers.data import folder_index, write_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUN = (*SMALL, "selection=random_crop", "student=convnet3", "student.precision=fp32", "relabel=logits")
TOGETHER = ("trainer=ddp_cpu", "trainer.student_devices=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``1`` and ``2`` with what so many ranks wrote in every case, and ``index``."""
    folder = tmp_path_factory.mktemp("students")
    (folder / "index").mkdir()
    folder_index(write_folder(folder / "images", per_class=3), folder / "index")
    command = [sys.executable, "-m", "tests.ddp.students", folder / "2", folder / "index"]
    two = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert two.returncode == 2, two.stderr
    (folder / "said").write_text(two.stderr)
    for name, case in CASES.items():
        train(case, TrainerConfig(), folder / "1" / name, folder / "index")
    return folder


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_end_with_the_weights_of_one(trained: Path, name: str) -> None:
    one, two = (load_file(trained / ranks / name / "student.safetensors") for ranks in "12")
    start = STUDENT.build(CLASSES, [0.5] * 3, [0.5] * 3, 0, SIDE).state_dict()
    assert max((one[key] - start[key]).abs().max() for key in one) > 5e-3
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=5e-6, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_find_the_losses_and_accuracies_of_one(trained: Path, name: str) -> None:
    one, two = (history(trained / ranks / name) for ranks in "12")
    assert len(one) == CASES[name].protocol.evaluations
    for key, most in (("loss", 1e-5), ("calibration_error", 1e-3)):
        assert [row.pop(key) for row in two] == pytest.approx([row.pop(key) for row in one], abs=most)
    assert two == one


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ranks", "12")
def test_the_accuracy_is_that_of_the_weights(trained: Path, name: str, ranks: str) -> None:
    folder, count = trained / ranks / name, CASES[name].tests
    model = STUDENT.build(CLASSES, [0.5] * 3, [0.5] * 3, 1, SIDE)
    model.load_state_dict(load_file(folder / "student.safetensors"))
    found = validate(model, some_tests(trained / "index", count), TrainerConfig().single)
    last = history(folder)[-1]
    assert (last["top1"], last["top5"], last["images"]) == (found.top1, found.top5, count)
    assert last["calibration_error"] == pytest.approx(found.calibration_error, abs=1e-3)


def test_two_ranks_store_the_labels_of_one(trained: Path) -> None:
    one, two = (sorted((trained / ranks / "logits" / "labels").glob("[!.]*")) for ranks in "12")
    assert (
        [path.name for path in one]
        == [path.name for path in two]
        == [*(f"labels-{k:05d}-of-00004.safetensors" for k in range(4)), "labels.json"]
    )
    assert one.pop().read_text() == two.pop().read_text()
    for mine, other in zip(one, two, strict=True):
        torch.testing.assert_close(load_file(mine), load_file(other), atol=0, rtol=2**-10)  # kept in fp16


def test_a_mistake_of_all_ranks_is_one_line(trained: Path) -> None:
    (line,) = [line for line in (trained / "said").read_text().splitlines() if not line.startswith("  ")]
    assert line.startswith("ddselect: student: the loss is not finite before step 6 (protocol p)")


def test_a_killed_rank_ends_the_training_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """One message, no process left; then the results of one rank."""
    long = ("dataset.sizes.test=11", "protocol.batch_size=3", "protocol.steps=200", "protocol.evaluations=20")
    command = [sys.executable, "-m", "ddselect", *RUN, *long, *TOGETHER]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    start = time.monotonic()
    children, second = ["pgrep", "-P", str(first.pid)], ""
    while not list(tmp_path.glob("store/student/*/last.ckpt")):
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() - start < 120
        second = subprocess.run(children, capture_output=True, text=True).stdout
        time.sleep(0.005)
    os.kill(int(second), signal.SIGKILL)
    _, err = first.communicate(timeout=30)  # returns when no process holds the pipe any more
    said = [line for line in err.splitlines() if line.startswith("ddselect: ")]
    assert len(said) == 1, f"{first.returncode}: {err}"
    (line,) = said
    assert first.returncode == 1
    assert line.startswith("ddselect: rank 1 was killed by SIGKILL")
    checkpoint = next(tmp_path.glob("store/student/*/last.ckpt"))
    done = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < done < 200
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("results: ") == 1
    assert again.stderr.count("student on random_crop, seed 0 ...") == 1
    shutil.copytree(tmp_path / "store", tmp_path / "one", ignore=shutil.ignore_patterns("student", "relabel"))
    assert run_here(tmp_path, *RUN, *long, "store=one").code == 0
    one, two = (only(tmp_path / store / "student") for store in ("one", "store"))
    assert one.name == two.name  # the number of devices is not what decides the result
    assert {path.name for path in two.iterdir()} == {
        "confusion.parquet",
        "manifest.json",
        "metrics.jsonl",
        "student.safetensors",
    }
    assert [row["step"] for row in history(two)] == [*range(10, 201, 10)]
    assert [row["loss"] for row in history(two)] == pytest.approx([row["loss"] for row in history(one)], rel=0.02)
