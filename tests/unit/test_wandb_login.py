"""Whether a run goes online."""

from pathlib import Path

import pytest

from ddselect.runtime.errors import UserError
from ddselect.tracking.login import wandb_mode


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that never logged in."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_key_it_stays_offline() -> None:
    assert wandb_mode("auto") == "offline"
    with pytest.raises(UserError, match=r"^logger\.mode=online: no W&B key found"):
        wandb_mode("online")


def test_with_a_key_wandb_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_mode("auto") is None
    assert wandb_mode("online") == "online"


@pytest.mark.parametrize(("host", "found"), [("api.wandb.ai", True), ("example.org", False)])
def test_the_key_that_a_login_leaves(host: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    assert wandb_mode("auto") == (None if found else "offline")


def test_the_setting_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled"
    assert wandb_mode("offline") == "offline"
