"""``report.html``: everything a run found, as one page that needs no other file and no network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ddselect.dataset.index import Index
from ddselect.evaluation.branch import Branch
from ddselect.evaluation.dd_ranking import SCORES
from ddselect.report.comparison import across_trainings, compare
from ddselect.report.figures import draw_curves, read_curves
from ddselect.report.gallery import galleries
from ddselect.report.images import image_trouble
from ddselect.report.maps import build_maps
from ddselect.report.page import render_page
from ddselect.report.pictures import SHARP, shown_classes
from ddselect.report.quality import quality_lines
from ddselect.report.settings import Report
from ddselect.report.stages import environment_lines, stage_lines, stage_sums
from ddselect.runtime.files import write_text
from ddselect.runtime.store import Done


def write_report(
    settings: Report,
    results: dict[str, Any],
    trained: list[Branch],
    index: Index,
    scores: Done | None,
    path: Path,
    prompts: Sequence[Mapping[str, str]] = (),
    maps: Done | None = None,
) -> None:
    """Writes the page.

    Args:
        settings: How many pictures it shows.
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
    curves = read_curves(chosen, {line.row.selection: line.look for line in compared.lines})
    lines, planes = stage_lines(trained), maps or scores
    page = render_page(
        "report.html.jinja",
        "report",
        first=entries[0],
        ipc=config["ipc"],
        seeds=sorted({entry["seed"] for entry in entries}),
        deviations=results["deviations"][way[0]],
        teacher=results["teacher"],
        trouble=image_trouble(trained[0].stages["index"]),
        compared=compared,
        trainings=across_trainings(entries),
        dd_ranking=results["dd_ranking"],
        scores=SCORES,
        qualities=quality_lines(entries),
        classes=len(index.class_names),
        shown=len(shown_classes(len(index.class_names))),
        galleries=galleries(trained, index.class_names, settings.images_per_class),
        view=view,
        sharp=view <= SHARP,
        scored=scores is not None,
        maps=build_maps(index, scores.folder, view, settings.maps_per_class, planes.folder)
        if scores and planes
        else None,
        change=config["scoring"]["change"],
        prompts=prompts,
        localisation=results["localisation"],
        curves=curves,
        top1_curves=Markup(draw_curves(curves, "top1", "top-1 on test images, %")),
        loss_curves=Markup(draw_curves(curves, "loss", "training loss", log=True)),
        stages=lines,
        sums=stage_sums(lines),
        environment=environment_lines(results["environment"]),
        config=json.dumps(config, indent=2, ensure_ascii=False),
    )
    write_text(path, page)
