"""Whether a run reaches Weights & Biases at once, or leaves files for later."""

import os
from typing import Literal, cast

import wandb

from ddselect.runtime.errors import UserError

Mode = Literal["online", "offline", "disabled", "shared"]


def wandb_mode(chosen: str) -> Mode | None:
    """The mode for ``wandb.init``.

    ``auto`` is what ``WANDB_MODE`` says, without it ``offline`` where there is no key. None leaves the mode to W&B,
    which is online unless ``wandb offline`` was called.

    Raises:
        UserError: It should be online, and there is no key.
    """
    wanted = os.environ.get("WANDB_MODE", "") if chosen == "auto" else chosen
    if wanted == "online" and not has_key():
        raise UserError("logger.mode=online: no W&B key found; log in with `wandb login` or set logger.mode=offline")
    return cast(Mode, wanted) if wanted else None if has_key() else "offline"


def has_key() -> bool:
    """Whether W&B finds a key: in its environment variables, or in the file where ``wandb login`` puts it."""
    return bool(os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or wandb.api.api_key)
