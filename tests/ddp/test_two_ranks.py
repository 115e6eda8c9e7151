"""Two ranks score what one does, and the jobs of a sweep do not disturb each other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ddselect.scoring.maps import read_image_scores, read_maps
from tests.fault.runs import SMALL, Ended, only, run_here

pytestmark = pytest.mark.slow

SCORES = (*SMALL, "backbone.dtype=fp32", "scoring.batch_size=16")
TOLERANCE = 1e-6
WITNESS = """
import os
if "LOCAL_RANK" in os.environ:
    open(os.environ["WITNESS"], "a").write(os.environ["LOCAL_RANK"] + "\\n")
"""

VANISHING = """
from pathlib import Path
from ddselect.scoring.latents import Views
read = Views.__getitem__

def vanishing(self, row):
    if self.index.ids[row] == {image!r}:
        Path("{victim}").unlink(missing_ok=True)
    return read(self, row)

Views.__getitem__ = vanishing
"""

NARROW = """
import os, sys, time
from pathlib import Path
import torch
from ddselect.backbone.denoiser import Denoiser
error, second = Denoiser.error, "LOCAL_RANK" in os.environ
torch.set_num_threads(1)

def narrow(self, latents, *others):
    if sys._getframe(1).f_code.co_name == "loss":  # of the check before scoring
        return error(self, latents, *others)
    while second and not Path("sizes0").exists():  # the first rank is at work when this one runs out of memory
        time.sleep(0.05)
    if not second:
        open("sizes0", "a")
    if second and len(latents) > 8:
        raise torch.OutOfMemoryError("out of memory")
    while not second and not list(Path("store/scoring").glob("*/at_once.json")):
        time.sleep(0.05)
    open(f"sizes{int(second)}", "a").write(f"{len(latents)} ")
    return error(self, latents, *others)

Denoiser.error = narrow
"""


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the scores that one process found."""
    folder = tmp_path_factory.mktemp("one")
    ended = run_here(folder, *SCORES)
    assert ended.code == 0, ended.err
    return only(folder / "store" / "scoring")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A sweep of three jobs: a mistake, five shards over two ranks, and one shard over two ranks."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "sitecustomize.py").write_text(WITNESS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("WITNESS", str(folder / "witness"))
        settings = [word for word in SCORES if not word.startswith("scoring.shard_size")]
        settings += ["trainer=ddp_cpu", "store=store/${scoring.shard_size}"]  # a size that is no other scoring
        return folder, run_here(folder, "-m", *settings, "scoring.shard_size=0,20,100")


@pytest.fixture(scope="module")
def two_ranks(sweep: tuple[Path, Ended]) -> Path:
    """Folder of that sweep."""
    return sweep[0]


def test_a_failed_job_does_not_stop_the_others(sweep: tuple[Path, Ended]) -> None:
    folder, ended = sweep
    assert {path.parent.name for path in folder.glob("multirun/*/*/results.json")} == {"1", "2"}
    assert ended.code == 1, ended.err
    failed, last = ended.messages
    assert failed.startswith("ddselect: job 0 failed: scoring.shard_size=0: at least 1 is needed; to repeat it: ")
    assert failed.endswith(" scoring.shard_size=0")
    assert last == "ddselect: 1 of 3 jobs of the sweep failed"


def test_each_other_job_had_two_ranks_and_one_folder(two_ranks: Path) -> None:
    assert (two_ranks / "witness").read_text().split() == ["1", "1"]
    assert len(list((two_ranks / "multirun").iterdir())) == 1
    assert not (two_ranks / "outputs").exists()


@pytest.mark.parametrize(("shards", "count"), [("shard-*-of-00005.parquet", 5), ("shard-*-of-00001.parquet", 1)])
def test_two_ranks_score_what_one_does(one_rank: Path, two_ranks: Path, shards: str, count: int) -> None:
    folders = {path.parent for path in two_ranks.glob(f"store/*/scoring/*/{shards}")}
    (folder,) = folders
    assert len(list(folder.glob("shard-*.parquet"))) == count
    assert_same_scores(one_rank, folder)


def test_three_ranks_score_what_one_does(one_rank: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ddselect", *SCORES, "stages=[scoring]", "trainer=ddp_cpu", "trainer.devices=3"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert_same_scores(one_rank, only(tmp_path / "store" / "scoring"))


def test_a_rank_without_memory_halves_the_batch_of_all(
    one_rank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NARROW)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    command = [sys.executable, "-m", "ddselect", *SCORES, "stages=[scoring]", "trainer=ddp_cpu", "trainer.threads=1"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120, text=True)
    assert "4 images at once from here on, on every device" in done.stderr
    first, second = ([int(size) for size in (tmp_path / f"sizes{rank}").read_text().split()] for rank in (0, 1))
    assert max(second) == 8  # both conditions of four images
    assert first[:2] == [32, 32]  # two draws of the batch that was under way
    assert max(first[4:]) == 8  # after one more that may have come between two halvings
    assert_same_scores(one_rank, only(tmp_path / "store" / "scoring"))


def assert_same_scores(one_rank: Path, folder: Path) -> None:
    """A finished scoring with the rows of one rank, numbers within the tolerance."""
    assert (folder / "manifest.json").exists()
    one, two = read_image_scores(one_rank), read_image_scores(folder)
    for name in ("id", "label"):
        assert one[name].to_pylist() == two[name].to_pylist()
    assert len(set(two["id"].to_pylist())) == 100
    np.testing.assert_allclose(two["image_score"], one["image_score"], rtol=0, atol=TOLERANCE)
    maps, others = (read_maps(place, None, 0.75) for place in (one_rank, folder))
    assert maps.keys() == others.keys()
    for name, values in maps.items():
        np.testing.assert_allclose(others[name], values, rtol=1e-3, atol=TOLERANCE)  # maps are kept in fp16


class TestSweep:
    """``-m`` with the default trainer."""

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
        folder = tmp_path_factory.mktemp("sweep")
        settings = [word for word in SMALL if not word.startswith("ipc=")]
        return folder, run_here(folder, "-m", *settings, "ipc=1,2", "selection=diffusion,random_crop")

    def test_every_job_has_results(self, swept: tuple[Path, Ended]) -> None:
        folder, ended = swept
        assert ended.code == 0, ended.err
        assert ended.messages == []
        (sweep,) = (folder / "multirun").iterdir()
        found = {}
        for path in sweep.glob("*/results.json"):
            (entry,) = json.loads(path.read_text())["results"]
            found[path.parent.name] = (entry["ipc"], entry["selection"])
        wanted = [(1, "diffusion"), (1, "random_crop"), (2, "diffusion"), (2, "random_crop")]
        assert found == {str(number): job for number, job in enumerate(wanted)}
        assert not (folder / "outputs").exists()

    def test_nothing_is_computed_twice(self, swept: tuple[Path, Ended]) -> None:
        folder, _ = swept
        manifests = [path.parts[-3] for path in folder.glob("store/*/*/manifest.json")]
        stages = {stage: manifests.count(stage) for stage in set(manifests)}
        shared = {
            "index": 1,
            "teacher": 1,
            "test_views": 1,
            "teacher_check": 1,
            "prompt": 1,
            "prior_check": 1,
            "scoring": 1,
            "boxes": 1,
        }
        # one embedding of candidates, and for random crops, which read none, one of the images alone
        assert stages == {**shared, "embed": 2, "selection": 2, "composition": 4, "quality": 4, "student": 4}
        assert all(len(list((folder / "store" / stage).iterdir())) == 1 for stage in shared)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_ends_the_others(
    rank: int, one_rank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first image of a rank's first shard vanishes before it is read: one line, and no process is left."""
    assert run_here(tmp_path, *SCORES, "selection=random_crop").code == 0
    image = read_image_scores(one_rank)["id"][20 * rank].as_py()
    victim = only(tmp_path / "store" / "index") / "images" / image
    (tmp_path / "sitecustomize.py").write_text(VANISHING.format(image=image, victim=victim))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    command = [sys.executable, "-m", "ddselect", *SCORES, "trainer=ddp_cpu"]
    done = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _, err = done.communicate(timeout=120)  # returns when no process holds the pipe any more
    # on a slow machine the first rank shows its progress once more before it hears of the second one's end
    ended = Ended(done.returncode, "", "".join(line for line in err.splitlines(True) if "  scoring: " not in line))
    line = ended.assert_one_line(ended.code)
    assert ended.code != 0  # 2, or that of a rank which was killed while it still computed
    assert line.startswith(f"ddselect: {victim}: unreadable image")


@pytest.mark.parametrize("all_at_once", [True, False])
def test_an_interruption_ends_all_ranks(all_at_once: bool, tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches all of them, a scheduler's stop perhaps the first one alone."""
    command = [sys.executable, "-m", "ddselect", *SCORES, "trainer=ddp_cpu", "scoring.draws=64", "stages=[scoring]"]
    first = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background has it ignored
    )
    start = time.monotonic()
    while not list(tmp_path.glob("store/scoring/*/shard-*.parquet")):
        assert first.poll() is None
        assert time.monotonic() - start < 120
        time.sleep(0.05)
    (os.killpg if all_at_once else os.kill)(first.pid, signal.SIGINT if all_at_once else signal.SIGTERM)
    _, err = first.communicate(timeout=30)  # returns when no process holds the pipe any more
    ended = Ended(first.returncode, "", "".join(line for line in err.splitlines(True) if "  scoring: " not in line))
    assert ended.assert_one_line(130).startswith("ddselect: interrupted; finished stages and shards are kept")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_others_and_a_finished_shard_stays(rank: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ddselect", *SCORES, "trainer=ddp_cpu", "scoring.draws=64", "stages=[scoring]"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    start = time.monotonic()
    while not (shards := list(tmp_path.glob("store/scoring/*/shard-*.parquet"))):
        assert first.poll() is None
        assert time.monotonic() - start < 120
        time.sleep(0.05)
    children = subprocess.run(
        ["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[-1]) if rank else first.pid, signal.SIGKILL)
    _, err = first.communicate(timeout=30)  # returns when no process holds the pipe any more
    lines = [line for line in err.splitlines() if line.startswith("ddselect: ")]
    if rank:
        assert first.returncode == 1
        (line,) = lines
        assert line.startswith(
            "ddselect: rank 1 was killed by SIGKILL (most often for want of memory); what was finished"
        )
    else:
        assert not lines  # the first one was to say it
    assert all(shard.exists() for shard in shards)
