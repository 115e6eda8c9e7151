"""For all tests: one thread, nothing from the network."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ |= {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}

import pytest
import torch

from ddselect.runtime import ranks

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=2, help="how often test_soak.py kills a run")


@pytest.fixture(autouse=True)
def _single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is not a rank of whatever launched it, nor of what another test pretended."""
    monkeypatch.setattr(ranks, "_place", ranks._Place())
    for name in (*ranks._LAUNCHED, "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
