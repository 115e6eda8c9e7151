"""``results.json``, ``report.html`` and the table on the terminal."""

from pathlib import Path

from ddselect.composition.distilled import DISTILLED
from ddselect.dataset.index import images_of
from ddselect.evaluation.localisation import measure_localisation
from ddselect.evaluation.results import write_results
from ddselect.prompt.conditions import read_prompts
from ddselect.report.html import write_report
from ddselect.report.table import print_table
from ddselect.runtime.progress import note
from ddselect.runtime.trial import Trial


def write(trials: list[Trial], folder: Path) -> Path:
    """Writes both files, prints the table and returns the path of the results."""
    e = trials[0].experiment
    scored = next((trial for trial in trials if "boxes" in trial.stages), trials[0])
    images, found = images_of(scored), None
    folders = None
    if "boxes" in scored.stages:
        folders = scored.stages["boxes"].folder, scored.stages["scoring"].folder
        found = measure_localisation(images, *folders, e.boxes.prediction_shift_weight, e.dataset.image_size)
    results = write_results(e, trials, found, folder / "results.json")
    prompts = read_prompts(scored.stages["prompt"].folder) if folders else []
    write_report(e.report, results, trials, images, folders, folder / "report.html", prompts)
    print_table(results)
    note(f"report:    {folder / 'report.html'}")
    place = trials[0].stages["composition"].folder / DISTILLED
    told = "each one's folder is in the results, `ddselect export` copies one"
    note(f"distilled: {place} ({trials[0].distilled}; {told})")
    return folder / "results.json"
