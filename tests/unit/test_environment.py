"""What a run notes about where it ran."""

import sys

import pytest

from ddselect.runtime.environment import capture_environment


def test_the_command_is_one_that_can_be_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ddselect", "ipc=1", "hydra.run.dir=/somewhere/multirun/0", "seeds=[0,1]"])
    assert capture_environment()["command"] == ["ipc=1", "seeds=[0,1]"]
