"""``report.html``: everything a run found, as one page that needs no other file and no network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ddselect.dataset.index import Index
from ddselect.evaluation.branch import Trial
from ddselect.evaluation.dd_ranking import SCORES
from ddselect.report.cards import Material, build_cards
from ddselect.report.caveats import caveats
from ddselect.report.comparison import across_trainings, compare
from ddselect.report.distilled import distilled_sets
from ddselect.report.examples import Examples
from ddselect.report.figures import draw_curves, read_curves
from ddselect.report.page import render_page
from ddselect.report.per_class import extremes, per_class
from ddselect.report.pictures import SHARP
from ddselect.report.quality import quality_lines
from ddselect.report.settings import ReportConfig
from ddselect.report.stages import command_line, environment_lines, stage_lines, stage_sums
from ddselect.runtime.files import write_text
from ddselect.runtime.store import StageResult


def write_report(
    settings: ReportConfig,
    results: dict[str, Any],
    trained: list[Trial],
    index: Index,
    scores: StageResult | None,
    path: Path,
    prompts: Sequence[Mapping[str, str]] = (),
    maps: StageResult | None = None,
) -> None:
    """Writes the page.

    Args:
        settings: How many pictures it shows, and how large it may be.
        results: Content of ``results.json``.
        trained: The students with their stages.
        index: The training images.
        scores: The finished stage of boxes and scores, if a selection needed one.
        path: Where the page goes.
        prompts: Class, positive and reference prompt of each class, if there are scores.
        maps: The finished stage of the difference maps; None if they lie with the scores.
    """
    entries, config = results["results"], results["config"]
    view = int(config["dataset"]["image_size"])
    compared = compare(entries, len(index.class_names))
    way = (entries[0]["protocol"], entries[0]["student"])
    chosen = [branch for branch in trained if (branch.protocol.name, branch.student.name) == way]
    looks = {line.row.selection: line.look for line in compared.lines}
    curves = read_curves(chosen, looks)
    lines = stage_lines(trained)
    sets, accuracies = distilled_sets(chosen), per_class(chosen, len(index.class_names))
    first = sets[0] if sets and sets[0].selection == entries[0]["selection"] else None
    folders = (scores.folder, (maps or scores).folder) if scores else None
    examples = Examples(index, folders, first, view, settings.maps_per_class)
    page = render_page(
        "report.html.jinja",
        "report",
        first=entries[0],
        ipc=config["ipc"],
        seeds=sorted({entry["seed"] for entry in entries}),
        teacher=results["teacher"],
        caveats=caveats(trained, results),
        compared=compared,
        others=results.get("published", []),
        looks=looks,
        trainings=across_trainings(entries),
        dd_ranking=results["dd_ranking"],
        scores=SCORES,
        qualities=quality_lines(entries),
        class_names=index.class_names,
        extremes=extremes(accuracies.get(entries[0]["selection"])),
        cards=build_cards(Material(index, sets, examples, accuracies, prompts), settings),
        examples=examples,
        accuracies=accuracies,
        sharp=view <= SHARP,
        scored=scores is not None,
        change=config["scoring"]["change"],
        reference=prompts[0]["reference"] if prompts else None,
        localisation=results["localisation"],
        curves=curves,
        top1_curves=Markup(draw_curves(curves, "top1", "top-1 on test images, %")),
        loss_curves=Markup(draw_curves(curves, "loss", "training loss", log=True)),
        stages=lines,
        sums=stage_sums(lines),
        command=command_line(results["environment"]),
        environment=environment_lines(results["environment"]),
        config=json.dumps(config, indent=2, ensure_ascii=False),
    )
    write_text(path, page)
