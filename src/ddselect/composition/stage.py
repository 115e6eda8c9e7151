"""The distilled images, with the provenance of every patch."""

from ddselect.composition.compose import VERSION
from ddselect.dataset.stage import image_count
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _key(trial: Trial) -> Facts:
    dataset = trial.experiment.dataset
    source = {"dataset": dataset.name, "license": dataset.license, "terms": dataset.terms}
    return {"composition": trial.method.composition, "ipc": trial.ipc, "seed": trial.seed, "source": source}


def _title(trial: Trial) -> str:
    return f"composition of {trial.method.selection.name}, " + (
        f"{trial.ipc} images per class" if trial.ipc else "all images"
    )


COMPOSITION = Stage(
    name="composition",
    version=VERSION,
    reads=("index", "pool?", "selection"),
    key=_key,
    run="ddselect.composition.run:compose_selection",
    scope="method",
    title=_title,
    expects=lambda t: {"images": t.ipc * t.classes if t.ipc else image_count(t), "classes": t.classes},
    cost=lambda config, facts: (config["composition"]["factor"], facts["images"], facts["images"]),
    unit="images",
    on_processor=True,
)
