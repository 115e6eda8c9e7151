"""How many images go to a device at once: what one rank has no memory for, no rank tries again."""

from pathlib import Path

from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.progress import note


class AtOnce:
    """A number that all ranks share, through a file beside the shards, so that they never wait for one another.

    It only falls while they score; without the file it is the batch size.
    """

    def __init__(self, folder: Path, batch_size: int) -> None:
        self._path, self._latest = folder / "at_once.json", batch_size

    def __call__(self) -> int:
        """The number now."""
        if self._path.exists() and (fewer := int(read_json(self._path)["images"])) < self._latest:
            self._latest = fewer
            note(f"  out of memory: {fewer} images at once from here on, on every device", "yellow")
        return self._latest

    def halve(self, images: int) -> None:
        """From now on at most half of ``images``, which were too many."""
        fewer = -(-images // 2)
        if fewer < self():
            write_json(self._path, {"images": fewer})

    def forget(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)
