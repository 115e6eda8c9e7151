"""Two machines, each a process with a folder of its own, and one store: as torchrun and SLURM start them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ddselect.runtime.integrity import MANIFEST
from tests.ddp.test_students import history
from tests.ddp.test_two_ranks import SCORES, assert_same_scores, one_rank  # noqa: F401  (fixture)
from tests.fault.runs import SMALL, only, run_here

pytestmark = pytest.mark.slow


def on_two_nodes(folder: Path, starter: str, *settings: str, ranks: int = 1) -> list[str]:
    """Runs the command on two nodes of some ranks each, and returns what each node printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for node in range(2):
        place = folder / f"node{node}"
        place.mkdir()
        command = ["-m", "ddselect", *settings, f"store={folder / 'store'}", "trainer=ddp_cpu", "trainer.nodes=2"]
        command += [f"trainer.devices={ranks}"]
        env = dict(os.environ)
        if starter == "torchrun":
            about = [
                f"--node-rank={node}",
                f"--nproc-per-node={ranks}",
                "--master-addr=127.0.0.1",
                f"--master-port={port}",
            ]
            command = ["-m", "torch.distributed.run", "--nnodes=2", *about, *command]
        else:
            env |= {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "scores", "MASTER_PORT": port}
            env |= {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}
            env |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_PROCID": str(node), "SLURM_NODEID": str(node)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, *command], cwd=place, env=env, **pipes))
    ended = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(err for _, err in ended)
    return [out for out, _ in ended]


@pytest.mark.parametrize("starter", ["torchrun", "slurm"])
def test_two_nodes_score_what_one_rank_does(starter: str, one_rank: Path, tmp_path: Path) -> None:  # noqa: F811
    """Each its shards, and the first one tells of it; a later run finds all of it done."""
    first, second = on_two_nodes(tmp_path, starter, *SCORES, "stages=[scoring]")
    scores = only(tmp_path / "store" / "scoring")
    assert [line for line in first.splitlines() if line.startswith("scoring: ")] == [f"scoring: {scores}"]
    assert "scoring: " not in second
    assert len(list(scores.glob("shard-*.parquet"))) == 5
    assert_same_scores(one_rank, scores)
    manifests = list((tmp_path / "store").glob(f"*/*/{MANIFEST}"))
    assert len(manifests) == len(list((tmp_path / "store").glob("*/*")))  # each stage once, none half
    again = run_here(tmp_path, *SCORES, "stages=[scoring]")
    assert again.code == 0, again.err
    assert "scoring: done before" in again.err


def test_two_nodes_label_and_train_together(tmp_path: Path) -> None:
    """Two ranks on each meet for three pieces of work, one after the other; the first one tells of them."""
    run = (*SMALL, "selection=random_crop", "student=convnet3", "student.precision=fp32", "relabel=logits")
    first, second = on_two_nodes(tmp_path, "torchrun", *run, "trainer.student_devices=2", ranks=2)
    assert (first.count("results: "), second.count("results: ")) == (1, 0)
    assert not list((tmp_path / "node1").rglob("results.json"))
    labels, student = (only(tmp_path / "store" / stage) for stage in ("relabel", "student"))
    assert len(list(labels.glob("labels-*.safetensors"))) == 8
    assert [row["step"] for row in history(student)] == [4, 8]
    assert len(list((tmp_path / "store").glob(f"*/*/{MANIFEST}"))) == len(list((tmp_path / "store").glob("*/*")))
