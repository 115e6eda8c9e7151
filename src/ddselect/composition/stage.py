"""The distilled images, with the provenance of every patch."""

from ddselect.composition.compose import VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _key(trial: Trial) -> Facts:
    dataset, method = trial.experiment.dataset, trial.method.selection
    if not method.ranks:
        given = {"given": method, "content": method.content(), "view": trial.view}
        return {"composition": trial.method.composition, "ipc": trial.ipc, **given}
    source = {"dataset": dataset.name, "license": dataset.license, "terms": dataset.terms}
    return {"composition": trial.method.composition, "ipc": trial.ipc, "seed": trial.seed, "source": source}


def _title(trial: Trial) -> str:
    if not trial.method.selection.ranks:
        return f"copy of the given set {trial.method.selection.name}"
    return f"composition of {trial.method.selection.name}, " + (
        f"{trial.ipc} images per class" if trial.ipc else "all images"
    )


def _expects(trial: Trial) -> Facts:
    dataset, method = trial.experiment.dataset, trial.method.selection
    if method.ranks:
        return {"images": trial.ipc * trial.classes if trial.ipc else trial.image_count, "classes": trial.classes}
    folders = dataset.class_folders()
    return {"images": len(method.open(folders, dataset.class_names(folders)).labels), "classes": len(folders)}


COMPOSITION = Stage(
    name="composition",
    version=VERSION,
    reads=lambda t: ["index", *["pool?", "selection"] * t.method.selection.ranks],
    key=_key,
    run="ddselect.composition.run:compose_selection",
    scope="method",
    title=_title,
    expects=_expects,
    cost=lambda config, facts: (config["composition"]["factor"], facts["images"], facts["images"]),
    unit="images",
    on_processor=True,
)
