"""A sweep's settings as a table on the terminal and as CSV."""

from io import BytesIO
from typing import Any

import pyarrow as pa
from pyarrow import csv
from rich.table import Table

from ddselect.runtime.progress import console_on
from ddselect.sweep.pooling import Pooled, Setting


def accuracy(setting: Setting) -> str:
    """Mean top-1 in percent, with its standard deviation if there are several seeds."""
    return f"{setting.mean:.1f}" if setting.std is None else f"{setting.mean:.1f} ± {setting.std:.1f}"


def images(setting: Setting) -> int:
    """Images that its students were trained on."""
    return int(next(iter(setting.entries.values()))["training_images"])


def print_summary(pooled: Pooled) -> None:
    """Prints one line per setting."""
    tests = next(iter(pooled.settings[0].entries.values()))["test_images"]
    table = Table(title=f"the sweep, {tests} test images", title_justify="left", header_style="bold")
    for column in pooled.columns:
        table.add_column(column, overflow="fold")
    for column in ("images", "seeds", "top-1 %", "best top-1 %"):
        table.add_column(column, justify="right", no_wrap=True)
    for setting in pooled.settings:
        labels = [setting.labels.get(column, "-") for column in pooled.columns]
        best = f"{setting.mean_of('top1_best'):.1f}"
        table.add_row(*labels, str(images(setting)), str(len(setting.entries)), accuracy(setting), best)
    console_on().print(table)


def csv_text(pooled: Pooled) -> str:
    """One line per setting: the keys that vary, then accuracies in percent; empty where there is no value."""
    keys = [{column: setting.labels.get(column) for column in pooled.columns} for setting in pooled.settings]
    rows = [own | _numbers(setting) for own, setting in zip(keys, pooled.settings, strict=True)]
    out = BytesIO()
    csv.write_csv(pa.Table.from_pylist(rows), out)
    return out.getvalue().decode()


def _numbers(setting: Setting) -> dict[str, Any]:
    numbers = {
        "top1_mean": setting.mean,
        "top1_std": setting.std,
        "top1_min": min(setting.top1),
        "top1_max": max(setting.top1),
        "top1_best_mean": setting.mean_of("top1_best"),
        "top5_mean": setting.mean_of("top5_last"),
    }
    return {
        "images": images(setting),
        "seeds": " ".join(map(str, sorted(setting.entries))),
        **{name: number if number is None else round(number, 4) for name, number in numbers.items()},
        "jobs": " ".join(setting.jobs),
    }
