"""The comparison as a table on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from ddselect.evaluation.results import comparison


def print_table(results: dict[str, Any]) -> None:
    """Prints one line per selection: images, top-1 of the last and the best test."""
    entries = results["results"]
    first = entries[0]
    title = f"{first['dataset']}, {first['student']}, protocol {first['protocol']}, {first['test_images']} test images"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("selection")
    table.add_column("distilled images")
    for column in ("images", "seeds", "top-1 %", "best top-1 %"):
        table.add_column(column, justify="right")
    for row in comparison(entries):
        spread = "" if row.top1_std is None else f" ± {row.top1_std:.1f}"
        values = (str(row.images), str(row.seeds), f"{row.top1:.1f}{spread}", f"{row.top1_best:.1f}")
        table.add_row(row.selection, row.composition, *values)
    Console().print(table)
