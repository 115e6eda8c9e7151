"""Tables on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ddselect.evaluation.results import comparison


def print_table(results: dict[str, Any]) -> None:
    """Prints one line per selection and student: images, top-1 of the last and best test; below, what is changed.

    Of what distilled images consist is left out for the students' names where there are several.
    """
    entries = results["results"]
    first = entries[0]
    rows = comparison(entries)
    several = len({row.student for row in rows}) > 1
    under = f"protocol {first['protocol']}, {first['test_images']} test images"
    title = f"{first['dataset']}, {under}" if several else f"{first['dataset']}, {first['student']}, {under}"
    changed = results["deviations"]
    table = Table(title=title, title_justify="left", header_style="bold", caption_justify="left")
    if changed:
        table.caption = Text(f"not the protocol {first['protocol']} as it stands: {', '.join(changed)}")
    table.add_column("selection", min_width=max(len(row.selection) for row in rows))
    if several:
        table.add_column("student", min_width=max(len(row.student) for row in rows))
    else:
        table.add_column("distilled images")
    for column in ("images", "seeds", "top-1 %", "best top-1 %"):
        table.add_column(column, justify="right")
    for row in rows:
        spread = "" if row.top1_std is None else f" ± {row.top1_std:.1f}"
        values = (str(row.images), str(row.seeds), f"{row.top1:.1f}{spread}", f"{row.top1_best:.1f}")
        table.add_row(row.selection, row.student if several else row.composition, *values)
    Console().print(table)


def print_pilot(facts: dict[str, Any]) -> None:
    """Prints one line per budget that a pilot tried, and the advised one as settings."""
    reference = facts["reference"]
    title = (
        f"scoring budgets on {facts['images']} images, as shares of how far two scorings of {reference['draws']} "
        f"independent draws ({reference['evaluations']} network evaluations an image) agree"
    )
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("band", "draws", "evaluations", *facts["ceiling"]):
        table.add_column(column, justify="right")
    for row in facts["rows"]:
        shares = (f"{row[name]:.2f}" for name in facts["ceiling"])
        style = "bold green" if row == facts["advice"] else "" if row["good"] else "dim"
        table.add_row(str(row["band"]), str(row["draws"]), str(row["evaluations"]), *shares, style=style)
    console = Console()
    console.print(table)
    console.print(f"the references themselves agree: {facts['ceiling']}", soft_wrap=True)
    advice = facts["advice"]
    if advice is None:
        console.print(
            "no budget is good enough; try more draws (pilot.draws) or other bands (pilot.bands)", soft_wrap=True
        )
        return
    band = ",".join(map(str, advice["band"]))
    settings = f"scoring.draws={advice['draws']} scoring.antithetic={str(advice['antithetic']).lower()}"
    console.print(f"advised: {settings} 'scoring.band=[{band}]'", soft_wrap=True, highlight=False)
