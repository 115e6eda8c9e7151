"""Tables on the terminal."""

from typing import Any

from rich.table import Table
from rich.text import Text

from ddselect.evaluation.dd_ranking import SCORES
from ddselect.evaluation.results import comparison
from ddselect.runtime.progress import console_on


def print_table(results: dict[str, Any]) -> None:
    """Prints one line per selection, protocol and student, with top-1 of the last and best test; below, what changed.

    Of what distilled images consist is left out for the names of protocols or students where there are several.
    DD-Ranking's scores have a table of their own.
    """
    entries = results["results"]
    first = entries[0]
    rows = comparison(entries)
    named = [name for name in ("protocol", "student") if len({getattr(row, name) for row in rows}) > 1]
    single = [] if "student" in named else [first["student"]]
    single += [] if "protocol" in named else [f"protocol {first['protocol']}"]
    title = ", ".join([first["dataset"], *single, f"{first['test_images']} test images"])
    table = Table(title=title, title_justify="left", header_style="bold", caption_justify="left")
    changed = {name: results["deviations"][name] for name in dict.fromkeys(row.protocol for row in rows)}
    lines = [f"not the protocol {name} as it stands: {', '.join(keys)}" for name, keys in changed.items() if keys]
    if lines:
        table.caption = Text("\n".join(lines))
    table.add_column("selection", min_width=max(len(row.selection) for row in rows))
    for name in named:
        table.add_column(name, min_width=max(len(getattr(row, name)) for row in rows))
    if not named:
        table.add_column("distilled images")
    for column in ("images", "seeds", "top-1 %", "best top-1 %"):
        table.add_column(column, justify="right")
    for row in rows:
        what = [getattr(row, name) for name in named] or [row.composition]
        accuracy = _with_spread(row.top1, row.top1_std, 1)
        table.add_row(row.selection, *what, str(row.images), str(row.seeds), accuracy, f"{row.top1_best:.1f}")
    console_on().print(table)
    if results["dd_ranking"]:
        _print_dd_ranking(results["dd_ranking"]["scores"])


def _print_dd_ranking(scores: list[dict[str, Any]]) -> None:
    if not scores:
        return
    first = scores[0]
    several = len({row["student"] for row in scores}) > 1
    single = [] if several else [first["student"]]
    against = f"{first['images']} images against {first['random_images']} random ones and all {first['real_images']}"
    title = ", ".join(["DD-Ranking, fractions", *single, f"protocol {first['protocol']}", against])
    table = Table(title=title, title_justify="left", header_style="bold", caption_justify="left")
    table.caption = Text("HLR: low is good; the others: high is good")
    table.add_column("selection", min_width=max(len(row["selection"]) for row in scores))
    if several:
        table.add_column("student", min_width=max(len(row["student"]) for row in scores))
    for name in SCORES:
        table.add_column(name.upper(), justify="right")
    for row in scores:
        numbers = (_with_spread(row[name], row[f"{name}_std"], 3) for name in SCORES)
        student = [row["student"]] if several else []
        table.add_row(row["selection"], *student, *numbers)
    console_on().print(table)


def _with_spread(mean: float, spread: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" if spread is None else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def print_pilot(facts: dict[str, Any]) -> None:
    """Prints one line per budget that a pilot tried, and the advised one as settings."""
    reference = facts["reference"]
    title = (
        f"scoring budgets on {facts['images']} images, as shares of how far two scorings of {reference['draws']} "
        f"unpaired draws ({reference['evaluations']} network evaluations an image) agree"
    )
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("band", "draws", "evaluations", *facts["ceiling"]):
        table.add_column(column, justify="right")
    for row in facts["rows"]:
        shares = (f"{row[name]:.2f}" for name in facts["ceiling"])
        style = "bold green" if row == facts["advice"] else "" if row["good"] else "dim"
        table.add_row(str(row["band"]), str(row["draws"]), str(row["evaluations"]), *shares, style=style)
    console = console_on()
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
    console.print(f"advised: {settings} 'scoring.band=[{band}]'", soft_wrap=True)
