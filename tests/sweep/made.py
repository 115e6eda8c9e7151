"""Folders of sweeps as jobs leave them, without the work."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddselect.sweep.job import write_record


def entry(selection: str, ipc: int | None, seed: int, top1: float, **changes: Any) -> dict[str, Any]:
    """An entry of ``results.json``; a student's fingerprint is what was trained, unless it is given."""
    made = {
        "dataset": "cluttered_digits",
        "selection": selection,
        "ipc": ipc,
        "protocol": "digits",
        "student": "small_resnet16",
        "seed": seed,
        "top1_last": top1,
        "top1_best": top1 + 1,
        "top5_last": 99.0,
        "top5_best": 99.5,
        "test_images": 50,
        "training_images": 10 * (ipc or 300),
        "seconds": {"scoring": 60.0, "student": 10.0},
        "fingerprints": {"scoring": "s0", "student": f"{selection} {ipc} {seed}"},
    }
    return made | changes


def make_job(
    folder: Path, overrides: Iterable[str], entries: list[dict[str, Any]], error: str = "", **config: Any
) -> None:
    """A job's folder with its record, and its results unless it failed."""
    folder.mkdir(parents=True)
    write_record(folder, list(overrides), error, 12.3)
    if not error:
        (folder / "results.json").write_text(
            json.dumps({"results": entries, "config": {"objective": "top1_last"} | config})
        )
        (folder / "report.html").write_text("<p>a report</p>")


def make_sweep(folder: Path, selections: tuple[str, ...] = ("diffusion", "rded", "random_image")) -> None:
    """Two IPC, selections and two seeds, each seed a job of its own that has the full data too; the last one failed."""
    number = 0
    for ipc in (1, 10):
        for place, selection in enumerate(selections):
            for seed in (0, 1):
                overrides = [f"ipc={ipc}", f"selection={selection}", f"seeds=[{seed}]", "compare=[all]"]
                top1 = 60 + 20 * (ipc > 1) - 5 * place + 2 * seed
                error = "student: out of luck" if number == 4 * len(selections) - 1 else ""
                entries = [entry(selection, ipc, seed, top1), entry("all", None, seed, 95 + seed)]
                make_job(folder / str(number), overrides, entries, error)
                number += 1
