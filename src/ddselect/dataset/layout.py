"""What to say about a folder that is not laid out as its dataset is: what is wrong, the layout, and what is there."""

import os
from pathlib import Path

from ddselect.dataset.listing import tree
from ddselect.runtime.errors import UserError


def wrong_layout(message: str, layout: str, found: Path) -> UserError:
    """An error of several lines, of which the first is complete by itself; the others are indented.

    Args:
        message: What is wrong, where, and what to do.
        layout: How the files must lie, a line for each kind.
        found: The folder of which the first levels are shown; the nearest one above it if it is not there.
    """
    depth = 2
    while not (found.is_dir() and os.access(found, os.R_OK | os.X_OK)) and found != found.parent:
        found, depth = found.parent, 1
    lines = [message, "  wanted:", *(f"    {line}" for line in layout.splitlines())]
    return UserError("\n".join([*lines, f"  found in {found}:", *(f"    {line}" for line in tree(found, depth))]))
