"""A sweep's settings as a table on the terminal and as CSV."""

import csv
from io import StringIO

from rich.console import Console
from rich.table import Table

from ddselect.sweep.pooling import Pooled, Setting

_NUMBERS = ("images", "seeds", "top1_mean", "top1_std", "top1_min", "top1_max", "top1_best_mean", "top5_mean", "jobs")


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
    Console().print(table)


def csv_text(pooled: Pooled) -> str:
    """One line per setting: the keys that vary, then accuracies in percent; empty where there is no value."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*pooled.columns, *_NUMBERS])
    for setting in pooled.settings:
        numbers = [setting.mean, setting.std, min(setting.top1), max(setting.top1)]
        numbers += [setting.mean_of("top1_best"), setting.mean_of("top5_last")]
        writer.writerow(
            [
                *(setting.labels.get(column, "") for column in pooled.columns),
                images(setting),
                " ".join(map(str, sorted(setting.entries))),
                *("" if number is None else f"{number:.4f}" for number in numbers),
                " ".join(setting.jobs),
            ]
        )
    return out.getvalue()
