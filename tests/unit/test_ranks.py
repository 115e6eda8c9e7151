"""What the environment says of ranks and threads is checked before any work, and left alone by who works alone."""

import os
from types import SimpleNamespace

import pytest

from ddselect.runtime import ranks, waiting
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import threads
from ddselect.runtime.ranks import find_place, rank
from ddselect.runtime.trainer import TrainerConfig
from ddselect.runtime.waiting import wait_until

SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
SLURM |= {"SLURM_NODEID": "0", "SLURM_JOB_ID": "7"}
ELASTIC = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1234"}


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in (*MEETING, "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "1"},
        {"RANK": "1"},
        {"LOCAL_RANK": "3"},
        {"NODE_RANK": "2"},
        {"RANK": ""},
        {"RANK": "4,2", "WORLD_SIZE": "2.0"},
        {"LOCAL_RANK": "first"},
        {"WORLD_SIZE": "0"},
        {"SLURM_NTASKS": "", "SLURM_PROCID": "x"},
        SLURM,
        ELASTIC,
        {"JSM_NAMESPACE_RANK": "1"},
    ],
)
def test_who_works_alone_asks_nobody(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, variables)
    find_place(1, 1)
    assert rank() == 0
    assert not {*ranks._LAUNCHED, "TORCHELASTIC_RUN_ID"} & {*os.environ}  # nor do libraries


@pytest.mark.parametrize(
    ("devices", "nodes", "variables", "number"),
    [
        (2, 1, {}, 0),
        (2, 1, {"RANK": "1"}, 0),  # left over: Lightning does not look at it either
        (2, 1, {"RANK": "", "LOCAL_RANK": " 1 "}, 1),
        (2, 1, {"LOCAL_RANK": "1"}, 1),
        (2, 1, ELASTIC, 1),
        (2, 1, SLURM, 1),
        (2, 3, {"NODE_RANK": "2", **MEETING}, 4),
        (2, 3, {"NODE_RANK": "2", "LOCAL_RANK": "1", **MEETING}, 5),
        (1, 2, {"GROUP_RANK": "1", **MEETING}, 1),
    ],
)
def test_each_of_several_ranks_knows_its_number(
    devices: int, nodes: int, variables: dict[str, str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, variables)
    find_place(devices, nodes)
    assert rank() == number


@pytest.mark.parametrize(
    ("devices", "nodes", "variables", "fragment"),
    [
        (2, 1, {"RANK": "4,2"}, "RANK=4,2"),
        (2, 1, {"LOCAL_RANK": "2.0"}, "LOCAL_RANK=2.0"),
        (2, 1, {"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1"),
        (2, 1, {"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
        (2, 1, {"LOCAL_RANK": "7"}, "LOCAL_RANK=7"),
        (2, 1, {"TORCHELASTIC_RUN_ID": "x"}, "RANK, LOCAL_RANK, WORLD_SIZE not set"),
        (2, 1, {**ELASTIC, "WORLD_SIZE": "3"}, "number 1 of 3"),
        (2, 1, {**ELASTIC, "RANK": "2"}, "number 2 of 2"),
        (2, 1, {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, "SLURM_LOCALID, SLURM_NODEID not set"),
        (2, 1, {**SLURM, "SLURM_NTASKS": "4"}, "of 4"),
        (1, 5, {}, "NODE_RANK, MASTER_ADDR, MASTER_PORT not set"),
        (1, 5, {"NODE_RANK": "0"}, "MASTER_ADDR, MASTER_PORT not set"),
        (1, 5, {"NODE_RANK": "0", **MEETING, "MASTER_PORT": "ssh"}, "MASTER_PORT=ssh"),
        (1, 2, {"NODE_RANK": "2", **MEETING}, "number 2 of 2"),
    ],
)
def test_ranks_that_could_only_wait_are_refused(
    devices: int, nodes: int, variables: dict[str, str], fragment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, variables)
    with pytest.raises(UserError, match=fragment) as caught:
        find_place(devices, nodes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "number"), [("3", 3), ("4,2", 4), (" 2 ", 2), ("", None)])
def test_threads_of_the_environment(value: str, number: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddselect.runtime.hardware.available_processors", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads() == (number or 5)


@pytest.mark.parametrize("value", ["0", "2.0", "-1", "many", "1e1", ",4", "0x2"])
def test_odd_threads_are_refused_before_any_work(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(UserError, match=f"OMP_NUM_THREADS={value} "):
        TrainerConfig().prepare()


def test_more_devices_than_the_machine_bears_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddselect.runtime.trainer.available_processors", lambda: 2)
    with pytest.raises(UserError, match=r"trainer\.devices=99: this machine has 2 processors"):
        TrainerConfig(devices=99).prepare()
    TrainerConfig(devices=3).prepare()


def test_a_wait_says_whom_it_waits_for_and_gives_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: now.__setitem__(0, now[0] + 1))
    monkeypatch.setattr(waiting, "time", clock)
    with pytest.raises(UserError, match="gave up waiting for the others"):
        wait_until(lambda: False, "the others")
    assert capsys.readouterr().err == "  waiting for the others\n"
    end = now[0] + 10 * waiting._PATIENCE
    wait_until(lambda: now[0] > end, "one who lives", lambda: now[0])
