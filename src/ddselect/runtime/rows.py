"""Many tensors of one shape: in memory, or where that would take too much of it in a file without a name."""

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

import torch
from torch import Tensor

_IN_MEMORY = 2**28  # bytes: each of several students at a time would have so many


class DiskRows:
    """Rows of one shape and type in a file that is gone when nobody holds it, or the process ends however it ends."""

    def __init__(self, rows: Iterable[Tensor], folder: Path | None) -> None:
        """Writes the rows to a file in a folder; None: where the system keeps temporary ones."""
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  (for as long as this lives)
        self._count = 0
        for row in rows:
            self._file.write(row.contiguous().numpy().tobytes())
            self._shape, self._kind, self._count = row.shape, row.dtype, self._count + 1
        self._file.flush()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The rows (N, ...) of some numbers (N,)."""
        found = torch.empty(len(rows), *self._shape, dtype=self._kind)
        lines = found.view(len(rows), -1).numpy()
        for line, row in zip(lines, rows.tolist(), strict=True):
            os.preadv(self._file.fileno(), [line], row * line.nbytes)
        return found


Rows = Tensor | DiskRows  # both are asked for rows by their numbers


def gathered(rows: Iterable[Tensor], count: int, size: int, folder: Path | None = None) -> Rows:
    """So many rows of ``size`` bytes each, in memory if they take little of it, else in a file in a folder."""
    if count * size > _IN_MEMORY:
        return DiskRows(rows, folder)
    numbered = enumerate(rows)
    _, first = next(numbered)
    found = first.new_empty(count, *first.shape)
    found[0] = first
    for number, row in numbered:
        found[number] = row
    return found
