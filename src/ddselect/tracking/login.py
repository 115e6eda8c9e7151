"""Whether a run reaches Weights & Biases at once, or leaves files for later."""

import netrc
import os
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from ddselect.runtime.errors import UserError

Mode = Literal["online", "offline", "disabled", "shared"]


def wandb_mode(chosen: str) -> Mode | None:
    """The mode for ``wandb.init``.

    Args:
        chosen: ``logger.mode``; ``auto`` is what ``WANDB_MODE`` says, without it ``offline`` where there is no key.

    Returns:
        The mode; None leaves it to W&B, which is online unless ``wandb offline`` was called.

    Raises:
        UserError: It should be online, and there is no key.
    """
    wanted = os.environ.get("WANDB_MODE", "") if chosen == "auto" else chosen
    if wanted == "online" and not has_key():
        raise UserError("logger.mode=online: no W&B key found; log in with `wandb login` or set logger.mode=offline")
    return cast(Mode, wanted) if wanted else None if has_key() else "offline"


def has_key() -> bool:
    """Whether W&B will find a key: in its environment variables, or in the file where ``wandb login`` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    places = (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")
    for file in (Path(place).expanduser() for place in places if place):
        if file.is_file():
            try:
                return netrc.netrc(file).authenticators(host) is not None
            except (netrc.NetrcParseError, OSError):
                return False
    return False
