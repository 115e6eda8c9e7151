"""``report.html``: everything a run found, as one page that needs no other file and no network."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddselect.dataset.index import Index
from ddselect.evaluation.dd_ranking import SCORES
from ddselect.report.cards import build_cards
from ddselect.report.caveats import caveats
from ddselect.report.comparison import across_trainings, compare, extremes, per_class
from ddselect.report.distilled import distilled_sets
from ddselect.report.examples import Examples
from ddselect.report.figures import draw_curves, read_curves
from ddselect.report.page import render_page
from ddselect.report.pictures import SHARP
from ddselect.report.quality import quality_lines
from ddselect.report.settings import ReportConfig
from ddselect.report.stages import stage_lines
from ddselect.runtime.files import write_text
from ddselect.runtime.trial import Trial


def write_report(
    settings: ReportConfig,
    results: dict[str, Any],
    trained: list[Trial],
    index: Index,
    folders: tuple[Path, Path] | None,
    path: Path,
    prompts: Sequence[Mapping[str, str]] = (),
) -> None:
    """Writes the page of ``results.json`` to a path; boxes and scores are those of a finished stage, if one was needed.

    ``folders`` are those of boxes and scores and of the scoring; prompts are there if there are scores.
    """
    entries, config = results["results"], results["config"]
    view = int(config["dataset"]["image_size"])
    compared = compare(entries, len(index.class_names))
    way = (entries[0]["protocol"], entries[0]["student"])
    chosen = [trial for trial in trained if (trial.protocol.name, trial.student.name) == way]
    looks = {line.row.selection: line.look for line in compared.lines}
    curves = read_curves(chosen, looks)
    sets, accuracies = distilled_sets(chosen), per_class(chosen, len(index.class_names))
    first = sets[0] if sets and sets[0].selection == entries[0]["selection"] and not sets[0].given else None
    weight = config["boxes"]["prediction_shift_weight"]
    examples = Examples(index, folders, weight, first, view, settings.maps_per_class)
    cards, detail, full = build_cards(index, sets, examples, accuracies, prompts, settings)
    page = render_page(
        "report.html.jinja",
        "report",
        first=entries[0],
        ipc=config["ipc"],
        seeds=sorted({entry["seed"] for entry in entries}),
        teacher=results["teacher"],
        prior=results["prior"],
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
        cards=cards,
        detail=detail,
        full=full,
        examples=examples,
        accuracies=accuracies,
        sharp=view <= SHARP,
        scored=folders is not None,
        change=weight,
        reference=prompts[0]["reference"] if prompts else None,
        localisation=results["localisation"],
        curves=curves,
        top1_curves=draw_curves(curves, "top1", "top-1 on test images, %"),
        loss_curves=draw_curves(curves, "loss", "training loss", log=True),
        stages=stage_lines(trained),
        command=shlex.join(["python", "run.py", *results["environment"]["command"]]),
        environment=results["environment"],
        config=json.dumps(config, indent=2, ensure_ascii=False),
    )
    write_text(path, page)
